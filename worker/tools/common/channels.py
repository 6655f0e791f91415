"""Channels as people and reports name them."""

from collections.abc import Sequence

from worker.settings import CHANNEL, Settings


def channel_of(settings: Settings, topic: str) -> str | None:
    """The channel whose command topic this is, whether it is served or not; None for a topic of another name."""
    name, _, rest = topic.partition(".")
    if topic == settings.topic_commands:
        return ""
    return name if rest == settings.topic_commands and CHANNEL.fullmatch(name) else None


def channel_column(channels: Sequence[str | None]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The name and the cells of a table's column for the channels of its rows; nothing if all are the default."""
    if not any(channels):
        return (), [()] * len(channels)
    return ("channel",), [(channel or "(default)",) for channel in channels]
