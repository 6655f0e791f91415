"""The option `--channel`: the channel whose topics a verb works on."""

from typing import Annotated

from cyclopts import Parameter

from worker.settings import CHANNEL, MAX_TOPIC, Settings
from worker.tools.cli.errors import BadUsage
from worker.tools.cli.running import settings_with_warnings

_ONE = "The channel whose topics to use. Default: the topics without a prefix, or the only channel that is served."
_ALL = 'Only this channel; "" is the default channel. Default: all channels that are served.'
OneChannel = Annotated[str | None, Parameter(name="--channel", help=_ONE)]
AllChannels = Annotated[str | None, Parameter(name="--channel", help=_ALL)]


def settings_of_one(channel: str | None) -> Settings:
    """The settings of one channel. It may be any: a producer's shell has no list of channels. Raises `BadUsage`."""
    settings = settings_with_warnings()
    return settings.of_channel(chosen(settings, channel))


def settings_of_all(channel: str | None) -> Settings:
    """The settings of a worker that serves this channel alone; None: all channels. Raises `BadUsage`."""
    settings = settings_with_warnings()
    return settings if channel is None else settings.serving([chosen(settings, channel)])


def serving_also(settings: Settings, channel: str | None) -> Settings:
    """The settings of a worker that serves this channel, too. Raises `BadUsage`."""
    if channel is None or chosen(settings, channel) in settings.channel_names:
        return settings
    return settings.serving([*settings.channel_names, channel])


def of_partitions(settings: Settings, option: str, given: object) -> Settings:
    """The same settings. Raises `BadUsage` if partitions or offsets are given, but not which channel's they are."""
    if given and len(settings.channel_names) > 1:
        raise BadUsage(f"{option}: expected --channel NAME with it, since several channels are served")
    return settings


def chosen(settings: Settings, channel: str | None) -> str:
    """The name of the chosen channel. Raises `BadUsage`."""
    served = settings.channel_names
    if channel is None:
        if "" not in served and len(served) > 1:
            raise BadUsage(f"--channel: expected one of {', '.join(served)}; PASSPORT_DEFAULT_CHANNEL is false")
        return "" if "" in served else served[0]
    if channel and not CHANNEL.fullmatch(channel):
        raise BadUsage(f"--channel: expected 1 to 40 letters a-z, digits and inner hyphens, got {channel!r}")
    if (longest := max(map(len, settings.of_channel(channel).all_topics))) > MAX_TOPIC:
        raise BadUsage(f"--channel: its longest topic would have {longest} characters, and Kafka takes {MAX_TOPIC}")
    return channel


def again(channel: str | None) -> tuple[str, ...]:
    """The option as arguments of another command."""
    return () if channel is None else ("--channel", channel)
