# Licensed under a 3-clause BSD style license - see LICENSE
"""
Audit results against their own data, without any truth.
"""

from .auditor import Auditor, audit_result
from .findings import CONSEQUENCES, AuditReport, Finding, severity
from .pixels import deviation, least_unexplained
from .residuals import removed_share

__all__ = ['CONSEQUENCES', 'AuditReport', 'Auditor', 'Finding', 'audit_result', 'deviation', 'least_unexplained',
           'removed_share', 'severity']
