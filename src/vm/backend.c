/* SPDX-License-Identifier: Apache-2.0 */
/* Which of the two runs a machine. */
#include "vm/backend.h"

#include <errno.h>
#include <stdio.h>

static int try_firecracker(const struct vm_spec *spec, char *error)
{
	int err = vm_firecracker.fits(spec, error);
	/* Who asks for it alone knows that it works, or hears what it says. */
	bool boots = spec->vmm == VM_VMM_FIRECRACKER ? vm_kvm_opens() : err == 0 && vm_boots(&vm_firecracker, spec);
	if (err == 0 && !boots) {
		snprintf(error, VM_ERROR_MAX, "Firecracker boots no machine here: it needs a KVM that works");
		err = -ENODEV;
	}
	return err;
}

int vm_choose(struct vm_spec *s, char *error)
{
	if (s->vmm != VM_VMM_QEMU) {
		int err = try_firecracker(s, error);
		if (err != 0 && s->vmm == VM_VMM_FIRECRACKER)
			return err;
		s->vmm = err == 0 ? VM_VMM_FIRECRACKER : VM_VMM_QEMU;
	}
	if (s->accel == VM_ACCEL_AUTO) {
		bool kvm = s->vmm == VM_VMM_FIRECRACKER || vm_boots(&vm_qemu, s);
		s->accel = kvm ? VM_ACCEL_KVM : VM_ACCEL_TCG;
	}
	return 0;
}

int vm_start(const struct vm_spec *spec, struct vm_proc *ret, char *error)
{
	const struct vm_backend *b = spec->vmm == VM_VMM_FIRECRACKER ? &vm_firecracker : &vm_qemu;
	return b->start(spec, ret, error);
}
