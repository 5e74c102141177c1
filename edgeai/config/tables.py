"""The tables of a profile: strict, frozen, each key with its type, bounds, default and meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    PrivateAttr,
)

from edgeai import defaults
from edgeai.config.base import AeTitle, Bytes, FilePath, Number, PlainPath, Port, Seconds, Slug, Table
from edgeai.config.requirements import Requirement, Wanted, requirements_of
from edgeai.config.trust import Trust
from edgeai.config.updates import Updates


class Device(Table):
    """Who this device is, in every topic and message."""

    id: Slug = Field(description="unique within the site")
    site: Slug = Field(description="the hospital or department")
    data_dir: FilePath = Field(Path("var"), description="spool and unpacked bundles", validate_default=True)
    labels: dict[Slug, Slug] = Field(
        default_factory=dict, description='what rollouts may ask for: `{ type = "us-cart", revision = "b" }`'
    )


class Plugins(Table):
    """Which plugins may be loaded. Discovery is not authorisation."""

    allow: tuple[str, ...] = Field(
        ("tflite", "openvino", "transforms", "classify"),
        strict=False,
        description="plugin names, as `edgeai plugins list` prints them",
    )


class Spool(Table):
    """The durable store, and when it refuses more."""

    reserve_bytes: Bytes = Field(
        defaults.RESERVE_BYTES, description="free disk below which a C-STORE is answered 0xA700"
    )
    max_instance_bytes: Bytes = Field(defaults.MAX_INSTANCE_BYTES, description="largest instance accepted")
    max_backlog: int = Field(
        defaults.MAX_BACKLOG,
        gt=0,
        description="unfinished jobs and unpublished messages above which nothing more is accepted",
    )
    keep_files: Literal["never", "failed", "always"] = Field(
        defaults.KEEP_FILES,
        description="which DICOM files stay after their jobs are done; `edgeai rerun` needs those that failed",
    )
    max_failed_bytes: Bytes = Field(
        defaults.MAX_FAILED_BYTES, description="how much the files of failed jobs may take; the oldest go first"
    )
    max_held: int = Field(
        defaults.MAX_HELD,
        gt=0,
        description="jobs that a deployment which cannot run holds before instances for it get 0xA700",
    )
    max_held_bytes: Bytes = Field(defaults.MAX_HELD_BYTES, description="how much the files of those jobs may take")
    max_shared_bytes: int = Field(
        256_000_000,
        ge=0,
        description="how much deployments may lay by for one another of images that they all have to do: decoded once,"
        " shrunk once; 0 for nothing",
    )
    max_set_aside: int = Field(
        defaults.MAX_SET_ASIDE,
        gt=0,
        description="messages of one lane that a sink refused for good: above it the oldest events go",
    )
    keep_rows_days: int = Field(
        defaults.KEEP_ROWS_DAYS,
        gt=0,
        description="how long an instance is remembered, so that a second copy makes no second job",
    )


class Tls(Table):
    """Certificates as PEM files. ``certificate`` and ``key`` identify this side; ``ca`` the other."""

    ca: FilePath | None = Field(None, description="authorities that the other side must be signed by")
    certificate: FilePath | None = Field(None, description="this side's certificate chain")
    key: FilePath | None = Field(None, description="this side's private key")


class Peer(Table):
    """A modality that may send."""

    ae_title: AeTitle = Field(description="its calling AE title")
    host: str | None = Field(None, description="its address; any when absent")


class Scp(Table):
    """The DICOM Storage and Verification SCP."""

    enabled: bool = Field(True, description="whether DICOM is taken over the network")
    ae_title: AeTitle = Field("EDGEAI", description="this device's AE title")
    host: str = Field(defaults.LOOPBACK, description="address to listen on; 0.0.0.0 for all")
    port: Port = Field(defaults.SCP_PORT, description="TCP port")
    require_called_ae_title: bool = Field(False, description="refuse associations that call another AE title")
    peers: tuple[Peer, ...] = Field((), strict=False, description="who may send; anyone when empty")
    max_associations: int = Field(
        defaults.MAX_ASSOCIATIONS,
        ge=1,
        le=200,
        description="associations at a time; one for each peer with a `host` is kept, up to half",
    )
    max_associations_per_host: int = Field(
        defaults.MAX_ASSOCIATIONS_PER_HOST, ge=1, le=200, description="of these, from one address"
    )
    idle_timeout_s: Seconds = Field(
        defaults.IDLE_TIMEOUT_S, description="an association silent for this long is aborted"
    )
    tls: Tls | None = Field(None, description="TLS (PS3.15 B.9); `ca` set means client certificates are required")


class Folder(Table):
    """A watched folder."""

    path: FilePath = Field(description="where files appear; sub-folders are watched too")
    settle_s: Seconds = Field(
        defaults.SETTLE_S,
        description="size and time must stand still this long before a file is read, "
        "ten times as long if the file is cut short",
    )
    after: Literal["move", "leave", "delete"] = Field(
        defaults.AFTER, description="what happens to a file that was taken"
    )
    done_dir: PlainPath | None = Field(None, description="where taken files go; `done` inside the folder when absent")
    rejected_dir: PlainPath | None = Field(
        None, description="where refused files go; `rejected` inside the folder when absent"
    )


class Ingest(Table):
    """How images arrive."""

    scp: Scp = Scp()
    folders: tuple[Folder, ...] = Field((), strict=False)


class Deployment(Table):
    """A bundle at work: what it runs on, and for how long it may."""

    name: Slug = Field(description="appears in topics and results; lower case, digits, hyphens")
    bundle: FilePath = Field(description="a `.edgeai` file")
    backends: tuple[str, ...] = Field(
        (), strict=False, description="wishes, best first; any allowed one when empty; `fastest` alone measures all"
    )
    device: str | None = Field(None, description="as the engine names it; the engine's best when absent")
    threads: int = Field(0, ge=0, le=256, description="engine threads; 0 for what measures best on single frames")
    deadline_s: Seconds = Field(30.0, description="a job that runs longer is ended and counted as a fault")
    open_deadline_s: Seconds = Field(120.0, description="the same for loading and opening the model")
    max_memory_bytes: Bytes = Field(
        0, description="memory (PSS) of its process above which that is ended and counted as a fault; 0 for no bound"
    )
    when_unavailable: Literal["hold", "fail"] = Field(
        "hold", description="while it cannot run: hold its jobs until it can, or fail them at once"
    )
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict, description="per backend: its own settings")
    allow_release: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")] | None = Field(
        None, description="digest of the one bundle that may run here though a later release of its model already has"
    )
    requires: dict[Slug, Wanted] = Field(
        default_factory=dict,
        description="what other deployments must state of an image before this one is asked, `kind:label` each, with a"
        ' least probability where wished: `{ guard = "agreement:modality", view = "class:frontal >= 0.9" }`',
    )
    requires_within_s: Seconds = Field(
        120.0,
        description="so long an image waits while one of those ends none; then it fails here with `requires.no-answer`",
    )
    updates: bool = Field(
        False,
        description="take updates: `bundle` is copied into a slot at the first start and not looked at again, and what"
        " follows it is rehearsed, switched to between studies, watched ([updates]) and undone by itself",
    )
    _standing: frozenset[str] = PrivateAttr(frozenset())

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """What must be said of an image before this one is asked; none where ``requires`` is empty."""
        return requirements_of(self.requires)

    @property
    def exceptions(self) -> frozenset[str]:
        """Digests that may run whatever the release floor says: the profile's own, and those that stand in slots."""
        return self._standing | ({self.allow_release} if self.allow_release else frozenset())

    def standing_at(self, bundle: Path, standing: frozenset[str]) -> Deployment:
        """The same, with a bundle of a slot, where these digests stand."""
        other = self.model_copy(update={"bundle": bundle})
        other._standing = standing
        return other


class Repository(Table):
    """Where new models come from: a repository as `edgeai fleet` makes it; `edgeai-update` fetches from it."""

    url: str | None = Field(
        None,
        description="`https://...`, where its folder `public` is served; only sticks without (`edgeai update --from`)",
    )
    root: FilePath = Field(
        Path("trust/root.json"),
        description="its root metadata, as its owner handed it out once; every later root is reached from it",
        validate_default=True,
    )
    proxy: str | None = Field(
        None, description="`http://host:port`; what `https_proxy` and `no_proxy` of the environment say when absent"
    )
    tls: Tls | None = Field(None, description="`ca` in place of the system's authorities; a client certificate")
    timeout_s: Seconds = Field(30.0, description="silence of the server after which a connection is given up")
    max_bytes_per_s: Bytes = Field(0, description="how much of the link is taken; 0 for no bound")
    every_s: Number = Field(
        21_600.0,
        ge=0,
        le=2_592_000,
        description="how often `edgeai run` looks for what is offered, give or take a tenth; 0 for never by itself",
    )
    window: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")] | None = Field(
        None, description="`22:00-05:30`: looks begin at these times of day alone, by the device's own time zone"
    )


class Mqtt(Table):
    """The broker that results go to."""

    enabled: bool = Field(True, description="whether results leave by MQTT")
    host: str = Field(defaults.LOOPBACK, description="name or address of the broker")
    port: Port = Field(1883, description="TCP port; 8883 is usual with TLS")
    protocol: Literal["auto", "5", "3.1.1"] = Field(
        defaults.MQTT_PROTOCOL, description="auto: 5, and 3.1.1 when the broker refuses it"
    )
    client_id: str | None = Field(None, description="edgeai-<site>-<device> when absent")
    username: str | None = Field(None, description="user name, where the broker wants one")
    password_file: FilePath | None = Field(
        None, description="a file that holds the password, readable by the service alone"
    )
    tls: Tls | None = Field(None, description="TLS to the broker")
    keepalive_s: int = Field(defaults.KEEPALIVE_S, ge=5, le=3600, description="MQTT keep-alive in seconds")
    max_inflight: int = Field(
        defaults.MAX_INFLIGHT, ge=1, le=1000, description="messages sent and not yet acknowledged"
    )
    message_expiry_s: int | None = Field(None, gt=0, description="MQTT 5 message expiry of results; never when absent")


class Jsonl(Table):
    """Results as JSON lines in a file."""

    enabled: bool = Field(True, description="whether the file is written")
    path: FilePath = Field(description="the file")
    max_bytes: Bytes = Field(100_000_000, description="size at which the file is rotated")
    keep: int = Field(5, ge=0, description="rotated files kept")


class Sink(Table):
    """A sink from a plugin."""

    kind: str = Field(description="the sink's name, as `edgeai plugins list` prints it")
    settings: dict[str, Any] = Field(default_factory=dict, description="what the sink's own documentation lists")


class Results(Table):
    """How results are written."""

    schema_: Literal[1, 2] = Field(
        2, alias="schema", description="number of their JSON form; 1 for subscribers that do not read 2 yet"
    )


class Privacy(Table):
    """What identifies an image outside the device."""

    uids: Literal["plain", "hmac"] = Field("plain", description="hmac: SHA-256 HMAC of each UID with the key")
    hmac_key_file: FilePath | None = Field(None, description="at least 32 bytes")


class Health(Table):
    """Prometheus metrics at /metrics, health at /health."""

    enabled: bool = Field(True, description="whether they are served")
    host: str = Field(defaults.LOOPBACK, description="address to listen on; there is no access control")
    port: Port = Field(9464, description="TCP port")
    allow_hosts: tuple[str, ...] = Field(
        (), strict=False, description="names that requests may use, beside localhost, `host` and this machine's address"
    )
    selftest_every_s: Number = Field(
        0.0, ge=0, le=604_800, description="how often a phantom travels the whole way (`edgeai selftest`); 0 for never"
    )


class Log(Table):
    """Logs, without patient data."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")
    format: Literal["json", "console"] = Field("json", description="one JSON object a line, or words for a terminal")


class Supervise(Table):
    """How roles are watched and restarted."""

    heartbeat_s: Seconds = Field(1.0, description="how often a role says that it lives")
    silent_s: Seconds = Field(30.0, description="a role that says nothing for this long is ended and restarted")
    restart_min_s: Seconds = Field(0.2, description="pause before the first restart; doubles with each")
    restart_max_s: Seconds = Field(30.0, description="longest pause")
    quarantine_after: int = Field(
        3, ge=1, description="deaths at one step, and not of one image alone, before a plugin is skipped"
    )
    job_attempts: int = Field(3, ge=1, description="deaths on one job before it is given up as failed")
    trial_after_s: float = Field(
        300.0,
        ge=0,
        le=86400,
        strict=False,
        description="a plugin in quarantine is tried on the golden cases after so long, then after pauses that double;"
        " 0 for never",
    )


class DeviceConfig(Table):
    """A whole profile."""

    schema_: Literal[1] = Field(1, alias="schema", description="version of this format")
    device: Device
    plugins: Plugins = Plugins()
    trust: Trust = Field(default_factory=dict, validate_default=True)
    spool: Spool = Spool()
    ingest: Ingest = Ingest()
    deployments: tuple[Deployment, ...] = Field((), strict=False)
    repository: Repository | None = None
    updates: Updates = Updates()
    mqtt: Mqtt = Mqtt()
    jsonl: Jsonl | None = None
    sinks: dict[str, Sink] = Field(default_factory=dict)
    results: Results = Results()
    privacy: Privacy = Privacy()
    health: Health = Health()
    log: Log = Log()
    supervise: Supervise = Supervise()
    _source: Path | None = PrivateAttr(None)

    @property
    def source(self) -> Path | None:
        """The file it was read from; None when it was made in memory."""
        return self._source


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a profile, for editors."""
    return DeviceConfig.model_json_schema(by_alias=True)
