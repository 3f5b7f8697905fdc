"""What a DPO asks a host and a bundle, as documents: holdings, rights, egress, and what a bundle asks for."""
