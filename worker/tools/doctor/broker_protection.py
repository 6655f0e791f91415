"""How connections to the brokers are protected, by settings and by where the brokers are."""

from aiokafka.conn import collect_hosts

from worker.settings import Settings
from worker.stream.aiokafka_internals import MetadataRequest
from worker.stream.cluster.connection import Cluster
from worker.tools.doctor.database_protection import Protection, Way, way_to


async def protection_of_brokers(cluster: Cluster, settings: Settings) -> Protection:
    """Of all connections together. With TLS every broker has to prove its name: there is no setting against it.

    Raises `CLUSTER_ERRORS`.
    """
    hosts = {host for host, _, _ in collect_hosts(settings.kafka_bootstrap_servers, randomize=False)}
    hosts |= {broker["host"] for broker in (await cluster.ask(MetadataRequest([]))).to_object()["brokers"]}
    way = Way.LOOPBACK if all(way_to(host) is Way.LOOPBACK for host in hosts) else Way.NETWORK
    is_encrypted = settings.kafka_security_protocol.endswith("SSL")
    return Protection(way, is_encrypted, is_encrypted)
