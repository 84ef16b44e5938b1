package recovery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery/engine"
	"understudy/internal/store"
)

// KindExtensions is the kind of run that restores the extensions of a group where it runs.
const KindExtensions = "restore-extensions"

// extensionsTimeout bounds a restoration; each handler and heartbeat has a shorter time of its own.
const extensionsTimeout = 30 * time.Minute

func (r *Recovery) extensionsKind() kind {
	return kind{
		prepare: func(_ context.Context, q Request, p *Input, _ store.Protection) (func(*store.Protection) error, error) {
			if r.o.Extensions == nil {
				return nil, dr.WithHint(errors.New("this controller knows no extensions"), dr.KindInvalid, "")
			}
			p.Rehearsal = q.Rehearsal
			return nil, nil
		},
		do:     r.restoreExtensions,
		settle: func(outcome, *store.Protection) error { return nil },
	}
}

// restoreExtensions heals the extensions of the group's machines where they run. What must be there is what the
// controller last saw, or else what the newest recovery point knows.
func (r *Recovery) restoreExtensions(run *engine.Run, p Input) (*Result, error) {
	res := &Result{}
	title := fmt.Sprintf("restore the extensions of %s at %s", p.Group, p.Source)
	if p.Rehearsal {
		title = fmt.Sprintf("see whether the extensions of %s can be restored at %s", p.Group, p.Source)
	}
	list, err := engine.Do(run, engine.Step[[]dr.ExtensionResult]{Name: "restore extensions", Title: title,
		Options: engine.StepOptions{Timeout: extensionsTimeout},
		Do: func(ctx context.Context, say *engine.Progress) ([]dr.ExtensionResult, error) {
			q := ExtensionRequest{Run: p.Run, Group: p.Group, Source: p.Target, Target: p.Source, LastSeen: true, Rehearsal: p.Rehearsal, Say: say.Say,
				Machines: r.newestMachines(ctx, p)}
			list, err := r.o.Extensions.Restore(ctx, q)
			say.Say("%s", SumUp(list))
			return list, err
		}})
	res.Extensions = list
	if err != nil {
		return res, err
	}
	return res, NotRestored(p.Group, list)
}

// newestMachines are the group's machines as the newest recovery point describes them; without what it knows of their
// extensions when the vault cannot be read now.
func (r *Recovery) newestMachines(ctx context.Context, p Input) []dr.Machine {
	described := map[string]dr.Machine{}
	if v, err := r.o.Vaults(ctx, p.Vault); err == nil {
		if head, err := v.Head(ctx, p.Group); err == nil {
			if point, err := v.OpenPoint(ctx, p.Group, head.Point.ID); err == nil {
				for _, m := range point.Machines() {
					described[m.Name] = m
				}
				if err := point.Close(); err != nil {
					r.o.Logger.Warn("close recovery point", "group", p.Group, "error", err)
				}
			}
		}
	}
	var list []dr.Machine
	for _, m := range p.Machines {
		list = append(list, dr.Machine{Name: m.Name, Extensions: described[m.Name].Extensions})
	}
	return list
}

// SumUp says in a line what became of extensions: "2 restored, 1 already healthy".
func SumUp(list []dr.ExtensionResult) string {
	if len(list) == 0 {
		return "the machines have no extensions"
	}
	var parts []string
	for _, o := range []struct {
		outcome dr.RestoreOutcome
		text    string
	}{{dr.ExtensionRestored, "restored"}, {dr.ExtensionAlreadyHealthy, "already healthy"}, {dr.ExtensionReady, "can be restored"}, {dr.ExtensionNotRestored, "failed"}} {
		n := 0
		for _, r := range list {
			if r.Outcome == o.outcome {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, o.text))
		}
	}
	return strings.Join(parts, ", ")
}

// NotRestored is the error of a restoration in which an extension failed, with the reason of each.
func NotRestored(group string, list []dr.ExtensionResult) error {
	var errs []error
	for _, r := range list {
		if r.Outcome == dr.ExtensionNotRestored {
			errs = append(errs, fmt.Errorf("%s on %s: %s", r.Extension, r.Machine, r.Reason))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return dr.WithHint(fmt.Errorf("%d of %d extensions are not restored: %w", len(errs), len(list), errors.Join(errs...)), dr.KindUnavailable,
		"mend that, then: understudy extension restore "+group)
}
