package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"understudy/internal/dr"
	"understudy/internal/store"
)

// A Request asks for a run.
type Request struct {
	Kind  string
	Group string
	Point string     // failovers: "latest" (when empty), an ID or a time
	By    string     // who asks
	Plan  string     // failovers and drills: the plan to carry out, or empty
	Drill *DrillSpec // drills: how
	Clone *CloneSpec // clones and moves: what, and what it is to become
	Of    string     // clones and moves: the run that is gone on with
	// Rehearsal asks extensions only whether they could be restored.
	Rehearsal bool
	// Keep is the site that is kept when a split brain is resolved.
	Keep string
	// FailedAt is when the source failed, if known: the achieved RPO is measured from it. Zero: now.
	FailedAt time.Time
}

// An Input is the input of a run: what was configured when it was asked for. Editing the group later does not change it.
type Input struct {
	Run       string             `json:"run"`
	Kind      string             `json:"kind"`
	Group     string             `json:"group"`
	Source    string             `json:"source"`
	Target    string             `json:"target"`
	Vault     string             `json:"vault"`
	Point     string             `json:"point,omitempty"`
	Machines  []dr.MachinePolicy `json:"machines"`
	Requested time.Time          `json:"requested"`
	FailedAt  time.Time          `json:"failedAt,omitzero"`
	// Of is the run that a clean-up or commit is about, or the failover that a failover starts over.
	Of     string     `json:"of,omitempty"`
	OfKind string     `json:"ofKind,omitempty"`
	Drill  *DrillSpec `json:"drill,omitempty"`
	Clone  *CloneSpec `json:"clone,omitempty"`

	Rehearsal bool `json:"rehearsal,omitempty"`

	Plan *PlanInput `json:"plan,omitempty"`
	// Paused says that a person had paused the group.
	Paused bool `json:"paused,omitempty"`
	// Full says, of a resolved split brain, that the machines at Target become the group's.
	Full bool `json:"full,omitempty"`
	// Change says that the group is failed over already and another recovery point is wanted.
	Change bool `json:"change,omitempty"`
}

func (p Input) failsOver() bool {
	return rehearses(p.Kind) || p.Kind == KindFailover || p.Kind == KindPlanned
}

func (p Input) validate() error {
	switch {
	case p.Target == "":
		return dr.WithHint(errors.New("the group has no target site"), dr.KindInvalid, p.targetHint())
	case p.Target == p.Source && !rehearses(p.Kind):
		return dr.WithHint(fmt.Errorf("source and target are both %s", p.Source), dr.KindInvalid, p.targetHint())
	case len(p.Machines) == 0:
		return dr.WithHint(errors.New("the group has no machines"), dr.KindInvalid, "")
	}
	return nil
}

// targetHint says how a group gets a target.
func (p Input) targetHint() string {
	return fmt.Sprintf("protect it as before, and with a target: understudy protect --group %s --site %s --vault %s --target SITE ...", p.Group, p.Source, p.Vault)
}

// rpo is what a failover to the point loses.
func (p Input) rpo(c chosen) Seconds {
	failed := p.FailedAt
	if failed.IsZero() {
		failed = p.Requested
	}
	return seconds(failed.Sub(c.Newest))
}

// as is the name of a machine at the target.
func (p Input) as(machine string) string {
	if rehearses(p.Kind) {
		return machine + "-test-" + p.Run
	}
	return machine
}

func (r *Recovery) inputOf(ctx context.Context, id string) (store.Run, Input, error) {
	var p Input
	run, err := r.o.Store.Run(ctx, id)
	if err == nil {
		err = json.Unmarshal(run.Input, &p)
	}
	if err != nil {
		return run, p, fmt.Errorf("read input of run %s: %w", id, err)
	}
	return run, p, nil
}

// about names what the run is about, for people.
func (p Input) about() string {
	if p.Clone != nil {
		return p.Clone.about()
	}
	return p.Group
}

// aboutMachine names the machine that a run of no group is about.
func (p Input) aboutMachine() string {
	if p.Clone == nil {
		return ""
	}
	return p.Clone.about()
}

func (q Request) about() string {
	if q.Clone != nil {
		return q.Clone.about()
	}
	return q.Group
}
