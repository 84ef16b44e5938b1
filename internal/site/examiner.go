package site

import "context"

// Examiner is a site that can say whether all that it needs is there, and what to do when it is not. Optional.
type Examiner interface {
	// Examine changes nothing.
	Examine(ctx context.Context) []Finding
	// Role is what the identity that the site is used by must be allowed, as the provider's tools take it.
	Role() string
	// Orphans are things that Understudy made and that belong to nothing any more, such as a dead controller's whose state
	// was lost. RemoveOrphans removes those that are still so.
	Orphans(ctx context.Context) ([]string, error)
	RemoveOrphans(ctx context.Context) ([]string, error)
}

// Outcomes of an examination.
const (
	FindingOK   = "ok"
	FindingWarn = "warn"
	FindingFail = "fail"
)

// Finding is one thing that was examined.
type Finding struct {
	Check   string `json:"check"`
	Status  string `json:"status"` // ok, warn or fail
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
}
