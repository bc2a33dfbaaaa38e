"""Data sets of triplets, built from PIPE and PIPE_Masks or from the released triplet sets, as parquet shards.

`sources` finds and reads the parquet files, `plan` joins them and cuts the work into units, `row` makes one triplet,
`shards` writes a unit, `report` sums up, `build` puts it together; `threads` and `over_ray` run units side by side.
`reader` gives the triplets back. What a unit writes depends on its rows and the settings alone.
"""
