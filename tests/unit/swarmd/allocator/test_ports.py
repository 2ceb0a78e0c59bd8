"""Published ports: one owner each, picked where the user named none."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beeyard.swarm.v1 import objects_pb2
from beeyard.swarm.v1.objects_pb2 import PUBLISH_MODE_HOST, PUBLISH_MODE_INGRESS, PublishedPort, Service
from services.kit import errors
from services.swarmd.allocator.ports import DYNAMIC_FIRST, DYNAMIC_LAST, Ports, is_allocated


def service(name: str, *ports: PublishedPort) -> Service:
    made = Service(id=f"id-{name}")
    made.spec.annotations.name = name
    made.spec.endpoint.ports.extend(ports)
    return made


def port(target: int = 80, published: int = 0, *, protocol: str = "", host: bool = False) -> PublishedPort:
    mode = PUBLISH_MODE_HOST if host else objects_pb2.PUBLISH_MODE_UNSPECIFIED
    return PublishedPort(target_port=target, published_port=published, protocol=protocol, mode=mode)


def allocated(made: Service, *others: Service) -> Service:
    made.endpoint.CopyFrom(Ports([made, *others]).allocate(made))
    return made


def test_what_is_named_is_given_with_defaults_filled_in() -> None:
    web = allocated(service("web", port(80, 8080)))
    assert list(web.endpoint.ports) == [
        PublishedPort(protocol="tcp", target_port=80, published_port=8080, mode=PUBLISH_MODE_INGRESS)
    ]
    assert is_allocated(web)


def test_what_is_not_named_is_picked() -> None:
    web = allocated(service("web", port(80), port(81), port(53, protocol="udp")))
    assert [got.published_port for got in web.endpoint.ports] == [30000, 30001, 30000]
    api = allocated(service("api", port(80)), web)
    assert api.endpoint.ports[0].published_port == 30002


def test_what_was_picked_is_kept() -> None:
    web = allocated(service("web", port(80), port(81)))
    web.spec.endpoint.ports.insert(0, port(79))
    assert not is_allocated(web)
    web = allocated(web)
    assert [got.published_port for got in web.endpoint.ports] == [30002, 30000, 30001]
    del web.spec.endpoint.ports[:]
    assert not is_allocated(web)
    assert not allocated(web).endpoint.ports


def test_a_host_port_is_left_to_the_node() -> None:
    web = allocated(service("web", port(80, host=True), port(81, 8081, host=True)))
    assert [got.published_port for got in web.endpoint.ports] == [0, 8081]
    assert is_allocated(web)


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (port(80, 80), port(81, 80), "an ingress port"),
        (port(80, 80), port(81, 80, host=True), "an ingress port"),
        (port(80, 80, host=True), port(81, 80), "a host-published port"),
        (port(80, 80, host=True), port(81, 80, host=True), None),
        (port(80, 80), port(80, 80, protocol="udp"), None),
        (port(80, 80), port(80, 81), None),
    ],
)
def test_conflicts_name_the_other_service(
    first: PublishedPort, second: PublishedPort, kind: str | None
) -> None:
    web, api = allocated(service("web", first)), service("api", second)
    ports = Ports([web, api])
    if kind is None:
        assert ports.allocate(api).ports
        return
    with pytest.raises(errors.AlreadyExists) as caught:
        ports.allocate(api)
    assert caught.value.message == f"port '80' is already in use by service 'web' (id-web) as {kind}"
    assert caught.value.reason == "PORT_IN_USE"


def test_of_two_that_were_let_in_the_first_to_come_gets_the_port() -> None:
    web, api = service("web", port(80, 80)), service("api", port(80, 80))
    ports = Ports([web, api])
    web.endpoint.CopyFrom(ports.allocate(web))
    ports.remove(web.id)
    ports.add(web)
    with pytest.raises(errors.AlreadyExists):
        ports.allocate(api)
    ports.remove(web.id)
    assert ports.allocate(api).ports[0].published_port == 80


def test_a_port_that_another_service_asks_for_is_not_picked() -> None:
    web = service("web", port(80))
    assert Ports([web, service("api", port(80, 30000))]).allocate(web).ports[0].published_port == 30001


def test_exhaustion_is_told() -> None:
    full = service("full", *[port(1, number) for number in range(DYNAMIC_FIRST, DYNAMIC_LAST + 1)])
    web = service("web", port(80))
    with pytest.raises(errors.Exhausted, match="no free tcp port"):
        Ports([full, web]).allocate(web)
    udp = service("dns", port(53, protocol="udp"))
    assert Ports([full, udp]).allocate(udp).ports[0].published_port == DYNAMIC_FIRST


specs = st.lists(
    st.builds(
        port,
        st.integers(1, 5),
        st.sampled_from([0, 0, 30000, 30001, 8080, 8081]),
        protocol=st.sampled_from(["", "tcp", "udp"]),
        host=st.booleans(),
    ),
    max_size=4,
)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(st.integers(0, 4), specs), max_size=12))
def test_no_ingress_port_ever_has_two_owners(steps: list[tuple[int, list[PublishedPort]]]) -> None:
    services: dict[int, Service] = {}
    for which, ports in steps:
        made = services.setdefault(which, service(str(which)))
        before = Service()
        before.CopyFrom(made)
        del made.spec.endpoint.ports[:]
        made.spec.endpoint.ports.extend(ports)
        try:
            made.endpoint.CopyFrom(Ports(services.values()).allocate(made))
        except errors.BeeyardError:
            made.CopyFrom(before)
        else:
            assert is_allocated(made)
            again = Ports(services.values()).allocate(made)
            assert again == made.endpoint, "allocating again changes nothing"
        owners: dict[tuple[str, int], tuple[int, int]] = {}
        for number, owner in services.items():
            for got in owner.endpoint.ports:
                if got.published_port:
                    key = (got.protocol, got.published_port)
                    known = owners.setdefault(key, (number, got.mode))
                    assert known[0] == number or (known[1], got.mode) == (
                        PUBLISH_MODE_HOST,
                        PUBLISH_MODE_HOST,
                    )
