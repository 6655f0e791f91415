"""What rows of a catalogue file refer to: other rows of the file, or of the database that it goes into."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from worker.tools.common.catalogue.models import Catalogue


@dataclass(frozen=True, slots=True)
class Known:
    """Ids of the rows that may be referred to beside those of the file."""

    plans: Collection[str] = ()
    companies: Collection[str] = ()
    templates: Collection[str] = ()


def missing_references(catalogue: Catalogue, known: Known) -> Iterator[str]:
    """A line for each reference to a row that is nowhere, with its path."""
    plans = {plan.id for plan in catalogue.plans}.union(known.plans)
    companies = {company.id for company in catalogue.companies}.union(known.companies)
    templates = {template.id for template in catalogue.templates}.union(known.templates)
    for at, company in enumerate(catalogue.companies):
        if company.plan not in plans:
            yield f"companies[{at}].plan: Expected a plan of file or database, got {company.plan}"
    for at, product in enumerate(catalogue.products):
        if product.company_id not in companies:
            yield f"products[{at}].companyId: Expected a company of file or database, got {product.company_id}"
        if product.template_id not in templates:
            yield f"products[{at}].templateId: Expected a template of file or database, got {product.template_id}"
