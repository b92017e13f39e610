"""Pure. The 19 task types, in their fixed order, and the ids of their system profiles."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Task:
    """A kind of work that a request can name; its profile holds the values."""

    number: int
    """1 to 19; part of the system profile's id, so it never changes."""
    name: str
    summary: str
    """One line for people."""


TASKS: tuple[Task, ...] = (
    Task(1, "primary", "The main answer in a conversation."),
    Task(2, "primary-summary", "Summarize one conversation or document."),
    Task(3, "master-summary", "Combine several summaries into one."),
    Task(4, "brief-summary", "Say what a text is about in a few sentences."),
    Task(5, "key-points", "List the points of a text that matter."),
    Task(6, "self-critique", "Look for the faults of an answer."),
    Task(7, "improvement", "Rewrite an answer so that its known faults are gone."),
    Task(8, "memory-retrieval", "Pick the stored notes that bear on a question."),
    Task(9, "analysis", "Reason about material and draw conclusions."),
    Task(10, "research-task", "Carry out one step of a research plan."),
    Task(11, "research-plan", "Break a research question into steps."),
    Task(12, "research-consolidation", "Merge the findings of several research steps."),
    Task(13, "research-analysis", "Judge what research findings show, and how surely."),
    Task(14, "embedding", "Turn text into vectors."),
    Task(15, "formatting", "Change a text's form and leave its content alone."),
    Task(16, "image-generation-prompt", "Write the prompt for an image model."),
    Task(17, "image-generation", "Make an image."),
    Task(18, "engineering", "Write, change and review code."),
    Task(19, "reranking", "Score passages against a query."),
)

TASK_NAMES: tuple[str, ...] = tuple(task.name for task in TASKS)


def system_profile_id(number: int) -> str:
    """The UUID of the system profile for task `number` (1 to 19); ValueError for any other number."""
    if not 1 <= number <= len(TASKS):
        raise ValueError(f"tasks are numbered 1 to {len(TASKS)}, not {number}")
    return f"00000000-0000-0000-0000-0000000000{number:02x}"
