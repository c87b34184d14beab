"""What the verifiers of Azure's confidential VMs share: the evidence document, the HCL report, the vTPM's quote."""
