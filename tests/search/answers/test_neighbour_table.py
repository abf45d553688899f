"""A column of the user never replaces one of the answer."""

from histo_index.search.answers.neighbour_table import neighbour_rows
from histo_index.search.answers.neighbours import Nearest, Neighbour


def test_a_column_of_the_user_named_as_one_of_the_answer_is_renamed() -> None:
    own = {"distance": "far", "query": "mine", "label": "fat"}
    near = Nearest([Neighbour(rank=1, image_id="a", path="a.png", distance=0.5, metadata=own)])
    (row,) = neighbour_rows(["q.png"], [near])
    assert (row["query"], row["distance"], row["label"]) == ("q.png", 0.5, "fat")
    assert (row["tile_query"], row["tile_distance"]) == ("mine", "far")
