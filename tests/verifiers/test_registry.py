"""Which verifiers are loaded: those the operator names, as a third party's would be, and no other."""

import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from attest_pipeline import verifiers
from attest_pipeline.errors import Misconfigured
from attest_pipeline.verifiers.sample import SampleVerifier

PLUGIN = """
from attest_pipeline.model import Claims

class AcmeVerifier:
    tee = "acme-tee"
    media_types = frozenset({"application/vnd.acme.evidence"})
    challenge_bytes = 64

    def __init__(self, trust_anchors):
        self.anchors = trust_anchors

    def endorsements_for(self, evidence):
        return ()

    def verify(self, evidence, endorsements, *, challenge, now):
        return Claims(
            tee=self.tee, hardware_id="acme", debug=False, tcb_status=None, measurements={}, signer=None,
            challenge_verified=False, endorsements={}, fields={}, checks=("format",),
        )
"""
SCRIPT = """
import sys
from datetime import UTC, datetime
from attest_pipeline.model import Endorsements, Evidence
from attest_pipeline.verifiers import load

assert "acme_tee" not in sys.modules
load(["sample"], {})
assert "acme_tee" not in sys.modules, "installed, but nobody named it"
verifier = load(["sample", "acme-tee"], {"acme": (b"root",)})["acme-tee"]
assert verifier.anchors == {"acme": (b"root",)}
moment = datetime(2026, 11, 1, tzinfo=UTC)
print(verifier.verify(Evidence("acme-tee", {}), Endorsements({}), challenge=None, now=moment).hardware_id)
"""


class Twin(SampleVerifier):
    """Claims the media type of another."""


class Anchored(SampleVerifier):
    """Keeps the anchors that it is given."""

    media_types = frozenset({"application/vnd.example.anchored"})

    def __init__(self, trust_anchors: Mapping[str, tuple[bytes, ...]]) -> None:
        super().__init__(trust_anchors)
        self.anchors = trust_anchors


class Guessable(SampleVerifier):
    """Says that its field takes four bytes."""

    challenge_bytes = 4


@pytest.fixture
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entry points that exist for one test; those of the project are not there."""
    points = {
        "sample": "attest_pipeline.verifiers.sample:SampleVerifier",
        "twin": f"{__name__}:Twin",
        "anchored": f"{__name__}:Anchored",
        "guessable": f"{__name__}:Guessable",
        "broken": "a_module_that_does_not_exist:Verifier",
    }
    found = EntryPoints(EntryPoint(name, value, verifiers.GROUP) for name, value in points.items())
    doubled = (EntryPoint("double", value, verifiers.GROUP) for value in (f"{__name__}:Twin", f"{__name__}:Anchored"))
    monkeypatch.setattr(verifiers, "entry_points", lambda group: EntryPoints((*found, *doubled)).select(group=group))


def test_every_verifier_of_the_project_loads_under_its_own_name() -> None:
    names = [
        "tdx",
        "sgx",
        "snp",
        "cca",
        "psa",
        "virtcca",
        "nitro",
        "nvidia-gpu",
        "nvidia-switch",
        "csv",
        "itrustee",
        "ascend-npu",
        "sample",
    ]
    assert [(name, verifier.tee) for name, verifier in verifiers.load(names, {}).items()] == [(n, n) for n in names]


def test_nothing_is_loaded_that_nobody_named() -> None:
    assert verifiers.load([], {}) == {}


def test_a_name_without_a_verifier_is_a_mistake_that_says_what_there_is() -> None:
    with pytest.raises(Misconfigured, match=r"no verifier is installed for TEE 'tdxx'; installed: .*cca, .*tdx"):
        verifiers.load(["tdxx"], {})


@pytest.mark.usefixtures("_installed")
def test_two_verifiers_of_one_media_type_are_refused_and_both_are_named() -> None:
    with pytest.raises(Misconfigured, match="'sample' and 'twin' both claim application/"):
        verifiers.load(["sample", "twin"], {})
    assert set(verifiers.load(["twin"], {})) == {"twin"}


@pytest.mark.usefixtures("_installed")
def test_two_plugins_of_one_name_are_refused_so_that_none_can_take_the_place_of_another() -> None:
    with pytest.raises(Misconfigured, match=r"'double' has more than one verifier: .*Anchored, .*Twin"):
        verifiers.load(["double"], {})


@pytest.mark.usefixtures("_installed")
def test_a_plugin_that_nobody_named_is_never_imported_even_if_it_is_broken() -> None:
    assert set(verifiers.load(["sample"], {})) == {"sample"}
    with pytest.raises(ModuleNotFoundError):
        verifiers.load(["broken"], {})


@pytest.mark.usefixtures("_installed")
def test_a_verifier_whose_challenge_could_be_met_by_chance_is_refused() -> None:
    with pytest.raises(Misconfigured, match="'guessable' carries a challenge of 4 bytes"):
        verifiers.load(["guessable"], {})


@pytest.mark.usefixtures("_installed")
def test_a_verifier_is_given_the_trust_anchors() -> None:
    found = verifiers.load(["anchored"], {"vendor": (b"root",)})["anchored"]
    assert isinstance(found, Anchored)
    assert found.anchors == {"vendor": (b"root",)}


def test_a_third_partys_package_works_once_it_is_installed_and_named(tmp_path: Path) -> None:
    (tmp_path / "acme_tee.py").write_text(PLUGIN)
    metadata = tmp_path / "acme_tee-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-tee\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{verifiers.GROUP}]\nacme-tee = acme_tee:AcmeVerifier\n")
    environment = {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "acme\n", "")
