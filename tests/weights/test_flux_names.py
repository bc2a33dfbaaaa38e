"""FLUX's weights under diffusers' names and under the original's: the same network in the real host."""

import pytest
import torch
from diffusers import FluxTransformer2DModel

from visual_insertion_pack.pipelines.add_it import latent_tokens
from visual_insertion_pack.pipelines.weights.flux_names import to_diffusers, to_original


@pytest.fixture(scope="module")
def transformer():
    torch.manual_seed(3)
    network = FluxTransformer2DModel(
        in_channels=64,
        num_layers=2,
        num_single_layers=3,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        pooled_projection_dim=20,
        guidance_embeds=False,
        axes_dims_rope=(4, 6, 6),
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


def test_the_hosts_flux_computes_what_diffusers_does(comfy, transformer):
    import comfy.ops
    from comfy.ldm.flux.model import Flux

    host = Flux(
        in_channels=16,
        out_channels=16,
        vec_in_dim=20,
        context_in_dim=24,
        hidden_size=32,
        mlp_ratio=4.0,
        num_heads=2,
        depth=2,
        depth_single_blocks=3,
        axes_dim=[4, 6, 6],
        theta=10000,
        patch_size=2,
        qkv_bias=True,
        guidance_embed=False,
        txt_ids_dims=[],
        dtype=torch.float32,
        operations=comfy.ops.disable_weight_init,
    )
    host.load_state_dict(to_original(transformer.state_dict()))
    latents = torch.randn(2, 16, 12, 10)
    context = torch.randn(2, 7, 24)
    pooled = torch.randn(2, 20)
    sigma = torch.tensor([0.3, 0.8])
    with torch.no_grad():
        theirs = host(latents, sigma, context, y=pooled)
        (tokens,) = transformer(
            hidden_states=latent_tokens.pack(latents),
            encoder_hidden_states=context,
            pooled_projections=pooled,
            timestep=sigma,
            img_ids=latent_tokens.positions(12, 10, latents.device),
            txt_ids=torch.zeros(7, 3),
            return_dict=False,
        )
    ours = latent_tokens.unpack(tokens, 12, 10)
    assert ours.std() > 0.05
    assert (ours - theirs).abs().max() < 2e-5


def test_names_go_there_and_back(transformer):
    state = transformer.state_dict()
    back = to_diffusers(to_original(state))
    assert set(back) == set(state) and all(torch.equal(back[name], state[name]) for name in state)


def test_the_originals_name_for_the_weights_of_norms_is_read(transformer):
    original = to_original(transformer.state_dict())
    public = {name.replace("_norm.weight", "_norm.scale"): value for name, value in original.items()}
    assert "double_blocks.0.img_attn.norm.query_norm.scale" in public
    assert set(to_diffusers(public)) == set(transformer.state_dict())


@pytest.mark.parametrize("convert", [to_original, to_diffusers])
def test_a_strange_name_is_refused(convert):
    with pytest.raises(ValueError, match="conv_in.weight is no weight of a FLUX"):
        convert({"conv_in.weight": torch.zeros(1)})
