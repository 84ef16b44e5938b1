package site

import (
	"context"

	"understudy/internal/dr"
)

// An Extender manages extensions of machines itself, as a cloud does: they are its objects beside the machine, not only
// software in it, so they do not follow a copy of the disks.
type Extender interface {
	// Owns reports whether an extension is of the kind that the site manages, rather than of the catalogue.
	Owns(e dr.Extension) bool

	// Extensions lists what a machine has, with everything that is needed to make it again and with health as far as the
	// site can judge it: a status that the machine reports of itself counts only where no heartbeat can be looked up.
	Extensions(ctx context.Context, machine string) ([]dr.Extension, error)

	// RestoreExtension makes an extension healthy on a running machine: what is stale is removed, identity, extension and
	// associations are put back, and a fresh heartbeat is waited for. It is idempotent. An error says why it is not healthy.
	RestoreExtension(ctx context.Context, q RestoreExtension) (dr.ExtensionResult, error)
}

// RestoreExtension says which extension to restore.
type RestoreExtension struct {
	Machine   string // its name at the site
	Extension dr.Extension
	Source    string // the site that the extension was observed at
	// Attributes of the machine where it was observed: identity is part of what an extension may need.
	Attributes map[string]string
	// Rehearsal changes nothing: the result is dr.ExtensionReady, or an error that says what is missing.
	Rehearsal bool
	Say       func(format string, args ...any)
	// Secret reads what a protected setting refers to.
	Secret func(reference string) (string, error)
}
