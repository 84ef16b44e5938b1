package recovery

import (
	"encoding/json"
	"time"

	"understudy/internal/dr"
	"understudy/internal/store"
)

// A Result is what a run achieved. It is complete when the run has ended, and grows before.
type Result struct {
	Point     string          `json:"point,omitempty"`
	PointTime time.Time       `json:"pointTime,omitzero"`
	Epoch     uint64          `json:"epoch,omitempty"` // after a failover
	RPO       Seconds         `json:"rpoSeconds"`      // from the newest instant that is in the point to the failure
	RTO       Seconds         `json:"rtoSeconds"`      // from the request to the last machine's health, and the last action of a plan's stages
	Machines  []MachineResult `json:"machines,omitempty"`
	Source    []SourceResult  `json:"source,omitempty"`
	Healthy   time.Time       `json:"healthy,omitzero"` // when the last machine was
	// Independent is when the machines no longer needed the vault.
	Independent time.Time    `json:"independent,omitzero"`
	Drill       *DrillResult `json:"drill,omitempty"`
	Clone       *CloneResult `json:"clone,omitempty"`
	// Originals are the machines that the group had left at the target, and how they were brought to the point.
	Originals []OriginalResult `json:"originals,omitempty"`
	// Made says that a rehearsal may have left something at the target.
	Made bool `json:"made,omitempty"`
	// Restored says that a planned failover that failed gave production back to the source.
	Restored bool `json:"restored,omitempty"`

	Ready      time.Time            `json:"ready,omitzero"`         // when the last action of the plan was done
	ReadyAfter Seconds              `json:"readySeconds,omitempty"` // from the request until then
	Actions    []ActionResult       `json:"actions,omitempty"`      // of the plan
	Extensions []dr.ExtensionResult `json:"extensions,omitempty"`
}

// LiveSince is when the first machine was started, or zero.
func (r Result) LiveSince() (first time.Time) {
	for _, m := range r.Machines {
		if first.IsZero() || m.Started.Before(first) {
			first = m.Started
		}
	}
	return first
}

// MachineResult is a machine that was brought up.
type MachineResult struct {
	Name    string    `json:"name"` // in the group
	As      string    `json:"as"`   // its name at the target
	Started time.Time `json:"started"`
	Healthy time.Time `json:"healthy,omitzero"` // when its probe passed
	RTO     Seconds   `json:"rtoSeconds"`
}

// SourceResult is what became of a machine at the source.
type SourceResult struct {
	Name  string `json:"name"`
	Held  bool   `json:"held"`
	Error string `json:"error,omitempty"`
}

// Seconds is a duration that is written as a number of seconds.
type Seconds float64

func seconds(d time.Duration) Seconds { return Seconds(max(0, d).Seconds()) }

// keep saves the result so far.
func keep(run *store.Run, res *Result) error {
	data, err := json.Marshal(res)
	run.Result = data
	return err
}
