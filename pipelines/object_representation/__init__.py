"""One object learned from a few pictures: tokens and a change of cross-attention, in a small file.

Zhang et al., implicit parametric representation (IEEE TVCG, 10753453); what differs is said where it differs.
"""
