"""Folders of triplets, and data sets of them built from PIPE and PIPE_Masks or from the released sets, as shards.

`sources` finds and reads the parquet files, `plan` joins them and cuts the work into units, `row` makes one triplet,
`shards` writes a unit, `report` sums up, `build` puts it together; `threads` and `over_ray` run units side by side.
What a unit writes depends on its rows and the `settings` alone.

`folder` reads triplets for training: picture files with a `metadata.jsonl`, or shards, for which it asks `reader`.
"""
