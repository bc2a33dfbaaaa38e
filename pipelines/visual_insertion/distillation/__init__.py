"""Students: what three evaluations of a UNet and many steps give, in one evaluation a step and in few steps."""
