"""The reports that verbs print with `--json`, for the schemas in `schemas/operations/`."""

from collections.abc import Mapping

from pydantic import BaseModel

from worker.tools.audit.report import AuditReport
from worker.tools.backup_taken.report import BackupTakenReport
from worker.tools.catalogue.report import CatalogueDiffReport
from worker.tools.cli.settings_list import SettingsReport
from worker.tools.common.lane_report import LanesReport
from worker.tools.company.report import CompanyCloseReport, ExportLine
from worker.tools.console.report import ActivityReport
from worker.tools.dead_letters.report import DeadLettersListReport, DeadLettersRedriveReport, DeadLettersShowReport
from worker.tools.doctor.report import DoctorReport
from worker.tools.explain.report import ExplainReport
from worker.tools.keys.report import KeysCreateReport, KeysListReport, KeysRevokeReport, KeysRotateReport
from worker.tools.lanes.report import RecoverReport, ResetReport
from worker.tools.migrate.report import MigratePlanReport
from worker.tools.quota.report import QuotaShowReport
from worker.tools.refusals.report import RefusalsReport
from worker.tools.replay.report import ReplayReport
from worker.tools.submit.report import SubmitReport
from worker.tools.validate.report import ValidateReport

REPORTS: Mapping[str, type[BaseModel]] = {
    "activity": ActivityReport,
    "audit": AuditReport,
    "backup-taken": BackupTakenReport,
    "catalogue-diff": CatalogueDiffReport,
    "catalogue-load": CatalogueDiffReport,
    "company-close": CompanyCloseReport,
    "company-export": ExportLine,
    "dead-letters-list": DeadLettersListReport,
    "dead-letters-redrive": DeadLettersRedriveReport,
    "dead-letters-show": DeadLettersShowReport,
    "doctor": DoctorReport,
    "explain": ExplainReport,
    "keys-create": KeysCreateReport,
    "keys-list": KeysListReport,
    "keys-revoke": KeysRevokeReport,
    "keys-rotate": KeysRotateReport,
    "lanes": LanesReport,
    "lanes-recover": RecoverReport,
    "lanes-reset": ResetReport,
    "migrate-plan": MigratePlanReport,
    "refusals": RefusalsReport,
    "replay": ReplayReport,
    "quota-show": QuotaShowReport,
    "submit": SubmitReport,
    "settings": SettingsReport,
    "validate": ValidateReport,
}
"""By verb; `activity` is an address of the console, and `company-export` describes a line."""
