package recovery

import (
	"context"
	"time"

	"understudy/internal/dr"
)

// Extensions makes the extensions of machines healthy that a run brought up.
type Extensions interface {
	// Restore compares the inventory of each machine with what is there, and heals what differs. It is idempotent. What
	// could not be restored is in the results; an error says that the request as a whole could not be carried out.
	Restore(ctx context.Context, q ExtensionRequest) ([]dr.ExtensionResult, error)
}

// An ExtensionRequest asks for the extensions of the machines that a run brought up.
type ExtensionRequest struct {
	Run    string
	Group  string
	Source string // the site that the inventory is of
	Target string // the site where the machines run now

	// Machines are those of the recovery point, with the inventory that was recorded with it.
	Machines []dr.Machine
	// As holds the name at the target of each machine.
	As map[string]string
	// LastSeen says that what the controller last saw of a machine counts, rather than what Machines say: somebody may have
	// installed or removed an extension since the recovery point.
	LastSeen bool
	// Rehearsal says that the machines are those of a test, which reach no service of their site: what a restoration needs
	// is looked at, and nothing is registered or changed.
	Rehearsal bool
	// Say reports what is being done.
	Say func(format string, args ...any)
}

// An ActionResult is what became of an action of a plan.
type ActionResult struct {
	Name     string        `json:"name"`
	Kind     string        `json:"kind"`
	Outcome  ActionOutcome `json:"outcome"`
	Attempts int           `json:"attempts,omitempty"`
	Started  time.Time     `json:"started,omitzero"`
	Ended    time.Time     `json:"ended,omitzero"`
	Output   string        `json:"output,omitempty"` // the last of what it wrote, without secrets
	Error    string        `json:"error,omitempty"`
	By       string        `json:"by,omitempty"`   // who approved, skipped or rejected it
	Note     string        `json:"note,omitempty"` // and what that person said
}

// ActionOutcome is how an action ended.
type ActionOutcome string

// Outcomes of actions.
const (
	ActionDone     ActionOutcome = "done"
	ActionFailed   ActionOutcome = "failed"         // and the run ended with it, or goes on (onError: continue)
	ActionSkipped  ActionOutcome = "skipped"        // by a person
	ActionUnmeant  ActionOutcome = "not-applicable" // it is for other kinds or directions
	ActionRejected ActionOutcome = "rejected"       // by a person
)
