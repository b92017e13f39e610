from __future__ import annotations

import dataclasses
import uuid

import pytest

from proxy.parameters.tasks import TASK_NAMES, TASKS, system_profile_id

ORDER = [
    "primary",
    "primary-summary",
    "master-summary",
    "brief-summary",
    "key-points",
    "self-critique",
    "improvement",
    "memory-retrieval",
    "analysis",
    "research-task",
    "research-plan",
    "research-consolidation",
    "research-analysis",
    "embedding",
    "formatting",
    "image-generation-prompt",
    "image-generation",
    "engineering",
    "reranking",
]


def test_the_names_stand_in_their_fixed_order() -> None:
    assert list(TASK_NAMES) == ORDER
    assert [task.name for task in TASKS] == ORDER


def test_they_are_numbered_from_1_to_19() -> None:
    assert [task.number for task in TASKS] == list(range(1, 20))


def test_each_has_a_summary_of_one_line() -> None:
    for task in TASKS:
        assert task.summary.endswith(".")
        assert "\n" not in task.summary
        assert len(task.summary) <= 80
    assert len({task.summary for task in TASKS}) == 19


def test_a_task_is_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TASKS[0].number = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("number", "last"), [(1, "01"), (9, "09"), (10, "0a"), (15, "0f"), (16, "10"), (18, "12"), (19, "13")]
)
def test_a_system_profiles_id_ends_in_the_number_in_hex(number: int, last: str) -> None:
    assert system_profile_id(number) == f"00000000-0000-0000-0000-0000000000{last}"


def test_every_id_is_the_uuid_of_its_number() -> None:
    for task in TASKS:
        assert uuid.UUID(system_profile_id(task.number)).int == task.number
        assert str(uuid.UUID(int=task.number)) == system_profile_id(task.number)


@pytest.mark.parametrize("number", [0, -1, 20, 256])
def test_there_is_no_id_for_another_number(number: int) -> None:
    with pytest.raises(ValueError, match=f"not {number}"):
        system_profile_id(number)
