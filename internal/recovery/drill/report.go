package drill

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"understudy/internal/dr"
)

// A Report is all that is known of a run, in one document. Drills have checks, evidence and a lag; other runs have not.
type Report struct {
	Format    int       `json:"format"` // of this document: 1
	Generated time.Time `json:"generated"`
	Program   string    `json:"program,omitempty"` // version

	Run     string  `json:"run"`
	Kind    string  `json:"kind"`
	Group   string  `json:"group,omitempty"`
	State   string  `json:"state"`
	Verdict Verdict `json:"verdict"`
	Summary string  `json:"summary"`
	Error   string  `json:"error,omitempty"`
	Hint    string  `json:"hint,omitempty"`

	By        string    `json:"by,omitempty"`
	Plan      string    `json:"plan,omitempty"`
	Due       time.Time `json:"due,omitzero"` // when the schedule wanted it
	Requested time.Time `json:"requested"`
	Started   time.Time `json:"started,omitzero"`
	Ended     time.Time `json:"ended,omitzero"`

	Source    string    `json:"source,omitempty"`
	Target    string    `json:"target,omitempty"`
	Vault     string    `json:"vault,omitempty"`
	Point     string    `json:"point,omitempty"`
	PointTime time.Time `json:"pointTime,omitzero"`

	RPO      float64   `json:"rpoSeconds"` // from the newest instant that is in the point to the request
	RTO      float64   `json:"rtoSeconds"` // from the request to the last machine's health
	Healthy  time.Time `json:"healthy,omitzero"`
	Cleaned  time.Time `json:"cleaned,omitzero"` // when nothing of it was left
	Kept     bool      `json:"kept,omitempty"`
	Machines []Machine `json:"machines,omitempty"`

	Lag        *Lag                 `json:"lag,omitempty"`
	Actions    []Action             `json:"actions,omitempty"`
	Extensions []dr.ExtensionResult `json:"extensions,omitempty"`
	Steps      []Step               `json:"steps,omitempty"`
	Events     []Event              `json:"events,omitempty"`
	Evidence   []Item               `json:"evidence,omitempty"`
}

// Verdict is the answer of a report.
type Verdict string

// Verdicts.
const (
	Passed    Verdict = "passed"
	Failed    Verdict = "failed"
	Cancelled Verdict = "cancelled"
	Unended   Verdict = "running"
)

// A Machine is one machine of a run. Times are zero for what did not come.
type Machine struct {
	Name    string    `json:"name"`
	As      string    `json:"as"`
	Order   int       `json:"order"`
	Probe   string    `json:"probe"`
	Started time.Time `json:"started,omitzero"`
	Healthy time.Time `json:"healthy,omitzero"`
	RTO     float64   `json:"rtoSeconds,omitempty"`
	Check   *Check    `json:"check,omitempty"` // the last look, in a drill
}

// Well reports whether the machine came up and stayed so.
func (m Machine) Well() bool { return !m.Healthy.IsZero() && (m.Check == nil || m.Check.Passed) }

// An Action is an action of the plan.
type Action struct {
	Name    string  `json:"name"`
	Kind    string  `json:"kind"`
	Outcome string  `json:"outcome"`
	Seconds float64 `json:"seconds,omitempty"`
	Note    string  `json:"note,omitempty"`
}

// A Step is one step of the run.
type Step struct {
	Title    string    `json:"title"`
	State    string    `json:"state"`
	Started  time.Time `json:"started,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`
	Attempts int       `json:"attempts,omitempty"`
	Message  string    `json:"message,omitempty"`
	Error    string    `json:"error,omitempty"`
}

// An Event is something that happened to the run.
type Event struct {
	Time    time.Time `json:"time"`
	Kind    string    `json:"kind"`
	Message string    `json:"message"`
}

// Complete fills in what follows from the rest: the verdict and the summary.
func (r *Report) Complete() {
	r.Format = 1
	switch r.State {
	case "succeeded":
		r.Verdict = Passed
	case "failed":
		r.Verdict = Failed
	case "cancelled":
		r.Verdict = Cancelled
	default:
		r.Verdict = Unended
	}
	r.Summary = r.summary()
}

// Up counts the machines that came up and stayed so.
func (r *Report) Up() (n int) {
	for _, m := range r.Machines {
		if m.Well() {
			n++
		}
	}
	return n
}

func (r *Report) summary() string {
	var parts []string
	say := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	all := len(r.Machines)
	switch {
	case r.Verdict == Unended:
		say("The run has not ended: this is what is known so far.")
	case r.Verdict == Passed && r.RTO > 0 && all == 1:
		say("%s came up at %s from recovery point %s and was healthy after %s.", r.Machines[0].Name, r.Target, r.Point, Seconds(r.RTO))
	case r.Verdict == Passed && r.RTO > 0 && all == 2:
		say("Both machines came up at %s from recovery point %s, and the last was healthy after %s.", r.Target, r.Point, Seconds(r.RTO))
	case r.Verdict == Passed && r.RTO > 0:
		say("All %d machines came up at %s from recovery point %s, and the last was healthy after %s.", all, r.Target, r.Point, Seconds(r.RTO))
	case r.Verdict == Passed:
		say("It did what was asked.")
	case r.Verdict == Cancelled:
		say("It was cancelled after %s.", Seconds(r.Ended.Sub(r.Requested).Seconds()))
	case all > 0:
		say("It failed: %d of %s came up and stayed healthy.", r.Up(), count(all, "machine"))
	default:
		say("It failed.")
	}
	switch {
	case r.Kept:
		say("The machines were left at %s to be looked at; they are not cleaned up.", r.Target)
	case !r.Cleaned.IsZero() && r.Verdict != Unended:
		say("Nothing of it was left behind.")
	}
	if r.Lag != nil && r.Lag.Samples > 0 {
		say("%s", sentence(r.Lag.Verdict()))
	}
	return strings.Join(parts, " ")
}

// sentence makes a sentence of what is written like an error.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// Title names the kind of run.
func (r *Report) Title() string {
	return cmp.Or(map[string]string{
		"drill": "Drill", "test-failover": "Test failover", "failover": "Failover", "planned-failover": "Planned failover",
		"commit": "Commit", "cleanup": "Clean-up", "reprotect": "Reprotect", "clone": "Clone", "move": "Move",
	}[r.Kind], r.Kind)
}

// JSON writes the report as JSON; files of evidence are in it in base64.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}
