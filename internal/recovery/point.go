package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery/engine"
)

// chosen is the recovery point that a run takes.
type chosen struct {
	ID     string    `json:"id"`
	Time   time.Time `json:"time"`
	Newest time.Time `json:"newest"` // the newest instant that the point is known to hold
}

func (c chosen) into(res *Result) { res.Point, res.PointTime = c.ID, c.Time }

// choose finds the point that was asked for and makes sure that it can be opened here.
func (r *Recovery) choose(run *engine.Run, p Input, name, title string) (chosen, error) {
	return engine.Do(run, engine.Step[chosen]{Name: name, Title: title,
		Options: engine.StepOptions{Timeout: vaultTimeout, Retries: 3},
		Do: func(ctx context.Context, say *engine.Progress) (c chosen, err error) {
			v, err := r.o.Vaults(ctx, p.Vault)
			if err != nil {
				return c, err
			}
			found, err := v.FindPoint(ctx, p.Group, p.Point)
			if err != nil {
				return c, err
			}
			c = chosen{ID: found.ID, Time: found.Time, Newest: found.Time}
			// Cycles that found nothing changed leave no point, but tell how far the newest one holds.
			head, err := v.Head(ctx, p.Group)
			if err != nil {
				return c, err
			}
			if head.Point.ID == c.ID && head.Known.After(c.Newest) {
				c.Newest = head.Known
			}
			for _, m := range p.Machines {
				if !slices.Contains(found.Machines, m.Name) {
					return c, dr.WithHint(fmt.Errorf("point %s does not hold machine %s", c.ID, m.Name), dr.KindConflict,
						"choose a point made after the machine joined the group: understudy points list "+p.Group)
				}
			}
			if err := r.vacant(ctx, p); err != nil {
				return c, err
			}
			point, err := v.OpenPoint(ctx, p.Group, c.ID)
			if err != nil {
				return c, err
			}
			say.Say("point %s of %s", c.ID, c.Time.Format(time.RFC3339))
			return c, point.Close()
		}})
}

// vacant makes sure that the target answers and that the names of the machines are free there: what exists is somebody
// else's, and neither to be used nor, when this run is cleaned up, to be deleted. After a failover that is started over
// they are that one's.
func (r *Recovery) vacant(ctx context.Context, p Input) error {
	d, err := r.o.Sites(ctx, p.Target)
	if err != nil {
		return err
	}
	there, err := d.Machines(ctx)
	if err != nil || p.Of != "" {
		return err
	}
	for _, m := range p.Machines {
		if !slices.ContainsFunc(there, func(t dr.Machine) bool { return t.Name == p.as(m.Name) }) {
			continue
		}
		if ours, err := r.leftBehind(ctx, p.Group, p.Target, p.as(m.Name)); err != nil || ours {
			if err != nil {
				return err
			}
			continue // it is brought to the point and used again
		}
		return dr.WithHint(fmt.Errorf("machine %s exists at %s", p.as(m.Name), p.Target), dr.KindConflict,
			"rename or remove the machine at "+p.Target+": Understudy does not replace what it did not create")
	}
	return nil
}

// serve begins to serve the disks of the point.
func (r *Recovery) serve(run *engine.Run, p Input, c chosen) error {
	return action(run, "serve", "serve the disks of point "+c.ID, engine.StepOptions{Timeout: vaultTimeout, Retries: 3},
		func(ctx context.Context, say *engine.Progress) error {
			v, err := r.o.Vaults(ctx, p.Vault)
			if err != nil {
				return err
			}
			point, err := v.OpenPoint(ctx, p.Group, c.ID)
			if err != nil {
				return err
			}
			rows, err := r.exports.rows(p, c.ID, point.Machines())
			if err = errors.Join(err, point.Close()); err != nil {
				return err
			}
			if err := r.o.Store.PutExports(ctx, rows); err != nil {
				return err
			}
			say.Say("%d disks", len(rows))
			return r.exports.ensure(ctx, p.Run)
		})
}

func (r *Recovery) stopServing(run *engine.Run, of, prefix string) error {
	return action(run, prefix+"stop serving", "stop serving the recovery point", engine.StepOptions{Timeout: time.Minute, Retries: 3, Cleanup: true},
		func(ctx context.Context, _ *engine.Progress) error { return r.exports.drop(ctx, of) })
}
