"""A fraction report as a page, ready for either template."""

from __future__ import annotations

from .blocks import Block, Cell, Facts, Notes, Page, Section, Table
from .model import FractionReport
from .parts import Provenance
from .view_dose import dose_section, goals_section, plan_section
from .view_match import Figures, anatomy_section, density_section, match_section, quality_table
from .view_top import banners, facts, shift_card, verdict
from .words import UNKNOWN, date_time, number


def fraction_page(report: FractionReport, figures: Figures) -> Page:
    """Arrange a report: the top band for the therapist, then what a physicist asks."""
    sections = (
        goals_section(report, figures),
        plan_section(report),
        match_section(report, figures),
        anatomy_section(report, figures),
        dose_section(report, figures),
        density_section(report),
        _record_section(report),
    )
    return Page(
        title=f"Fraction {report.fraction.number} of {report.fraction.planned}",
        subtitle=f"Course {report.course}",
        notice=report.notice,
        banners=banners(report),
        verdict=verdict(report),
        shift=shift_card(report),
        facts=facts(report),
        sections=tuple(section for section in sections if section is not None),
        footer=f"igrt {report.provenance.software_version} · written {date_time(report.written_at)}",
    )


def _record_section(report: FractionReport) -> Section:
    blocks: list[Block] = []
    if report.missing:
        blocks.append(Notes(tuple(Cell(line, "warn") for line in report.missing), title="Not in this report"))
    blocks += quality_table(report.checks, "Automatic checks")
    if report.audit:
        rows = tuple((Cell(date_time(a.when)), Cell(a.who), Cell(a.what)) for a in report.audit)
        blocks.append(Table("Who did what when", ("When", "Who", "What"), rows))
    if report.stage_seconds:
        stages = [(Cell(s.stage), Cell(number(s.seconds, 1))) for s in report.stage_seconds]
        total = sum(s.seconds for s in report.stage_seconds)
        stages.append((Cell("all stages", strong=True), Cell(number(total, 1), strong=True)))
        blocks.append(Table("Time per stage", ("Stage", "Seconds"), tuple(stages), numeric=(1,)))
    identifiers = [
        ("Image series UID", Cell(report.image.series_uid or UNKNOWN, "muted")),
        ("Plan of record UID", Cell((report.plan.sop_instance_uid if report.plan else "") or UNKNOWN, "muted")),
    ]
    if report.image.images_in_fraction > 1:
        identifiers.append(("Images in this fraction", Cell(f"{report.image.images_in_fraction}; the last governs")))
    if report.image.note:
        identifiers.append(("Image", Cell(report.image.note)))
    if report.dose is not None and report.dose.beam_model_sha256:
        identifiers.append(("Beam model SHA-256", Cell(report.dose.beam_model_sha256, "muted")))
    blocks.append(Facts(tuple(identifiers)))
    blocks += provenance_blocks(report.provenance)
    return Section("record", "Checks and record", tuple(blocks))


def provenance_blocks(provenance: Provenance) -> tuple[Block, ...]:
    """List versions and hashes."""
    protocol = f"{provenance.protocol} {provenance.protocol_version}".strip() or UNKNOWN
    rows = [("igrt", Cell(provenance.software_version)), ("Protocol", Cell(protocol))]
    rows += [("Code revision", Cell(provenance.code_revision))] if provenance.code_revision else []
    rows += [(v.name, Cell(v.version)) for v in provenance.versions]
    blocks: list[Block] = [Facts(tuple(rows))]
    if provenance.hashes:
        hashes = tuple((Cell(h.what), Cell(h.sha256, "muted")) for h in provenance.hashes)
        blocks.append(Table("Input hashes", ("Input", "SHA-256"), hashes))
    return tuple(blocks)
