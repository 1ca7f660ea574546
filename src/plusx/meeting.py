"""How the ranks of a distributed run meet, and what reaches the others of one that is gone."""

import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from torch import distributed
from torch.distributed import PrefixStore, TCPStore  # pyright: ignore[reportPrivateImportUsage]

from plusx.errors import LostRank, PlusxError, Stopped
from plusx.launch import Place

PATIENCE = timedelta(hours=4)
"""How long ranks wait for one that downloads or looks at the data; one that is gone is noticed at once."""
ARRIVAL = timedelta(minutes=10)
"""How long they wait until all have come; torchrun starts them when all machines are there."""


@dataclass
class Meeting:
    """Where the ranks have met.

    Attributes:
        place: This rank's place.
        store: What all ranks can write to and read from, even when one of them is gone.
        machine: The ranks of this machine; None for all.
        leader: The first rank of this machine.
    """

    place: Place
    store: Any
    machine: Any
    leader: int

    def words(self) -> str:
        """Return why a rank is gone, in its own words; nothing if it had no time for any."""
        with suppress(RuntimeError):  # the store is gone, too
            if self.store.check(["failure"]):
                return self.store.get("failure").decode("utf-8")
        return ""

    def lets_speak(self, error: Exception) -> bool:
        """Whether it falls to this rank to say why the run ends: to the first that fails, so that it is said once."""
        if isinstance(error, Stopped):
            return self.place.rank == 0
        try:
            if not isinstance(error, LostRank):
                words = str(error) if isinstance(error, PlusxError) else f"{type(error).__name__}: {error}"
                self.store.set("failure", f"rank {self.place.rank}: {words}")
            return self.store.add("failures", 1) == 1
        except RuntimeError:  # the store is gone, too
            return True


def meet(place: Place, *, gpus: bool) -> Meeting:
    """Meet the other ranks; torch's process group is made.

    Raises:
        PlusxError: They cannot meet.
    """
    host, port = place.address
    serves = place.rank == 0 and not place.served
    try:
        shared = TCPStore(host, port, None, serves, ARRIVAL, wait_for_workers=False, multi_tenant=True)
        ours = PrefixStore("plusx", shared)
        store = PrefixStore(_agreed(place, ours), ours)
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if gpus else "gloo",
            store=store, rank=place.rank, world_size=place.ranks, timeout=PATIENCE,
        )  # fmt: skip
        machines: list[Any] = [None] * place.ranks
        distributed.all_gather_object(machines, place.machine)
        members = {one: [rank for rank, at in enumerate(machines) if at == one] for one in sorted(set(machines))}
        groups = {machine: distributed.new_group(of, PATIENCE, "gloo") for machine, of in members.items()}
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise PlusxError(
            f"the {place.ranks} processes of this run cannot meet at {host}:{port}: {reason}; where a machine has "
            "several networks, name the one to use with GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME"
        ) from error
    return Meeting(place, store, groups[place.machine], members[place.machine][0])


def _agreed(place: Place, store: PrefixStore) -> str:
    """Agree with the other ranks on a name for this meeting, which no earlier one in the same store had.

    torchrun's store outlives the ranks that it starts again, and it tells them no common number of the attempt: each
    machine counts its own. So each rank asks with a word that is new, and the first answers with the name, until all
    have come; a word that it finds may be of a rank that is gone.
    """
    if place.rank:
        word = secrets.token_hex(8)
        store.set(f"ask/{place.rank}", word)
        name = store.get(f"answer/{word}").decode("utf-8")
        store.set(f"{name}/here/{place.rank}", "")
        return name
    name, answered, missing = secrets.token_hex(8), set[str](), set(range(1, place.ranks))
    end = time.monotonic() + ARRIVAL.total_seconds()
    while missing:
        if time.monotonic() > end:
            raise RuntimeError(f"rank {min(missing)} did not come within {ARRIVAL.total_seconds() / 60:.0f} minutes")
        for rank in [one for one in missing if store.check([f"ask/{one}"])]:
            word = store.get(f"ask/{rank}").decode("utf-8")
            if word not in answered:
                store.set(f"answer/{word}", name)
                answered.add(word)
        missing = {one for one in missing if not store.check([f"{name}/here/{one}"])}
        time.sleep(0.005)
    return name
