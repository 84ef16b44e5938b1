package api

import (
	"context"
	"fmt"
	"strings"
	"time"

	"understudy/internal/access"
	"understudy/internal/controller"
	"understudy/internal/dr"
	"understudy/internal/recovery"
	"understudy/internal/store"
)

// approvalWanted is the error of a request that another person has to approve.
type approvalWanted struct{ id, about string }

func (e *approvalWanted) Error() string {
	return "to " + e.about + " another person has to approve: approval " + e.id
}

// second asks for another person's approval, or uses it up when it was given for this very request.
func (g guard) second(ctx context.Context, v access.Verb, o access.Object, about string) error {
	if !g.s.opts.FourEyes {
		return nil
	}
	ask := askingOf(ctx)
	a, err := g.Backend.AskApproval(ctx, store.Approval{Verb: v, Object: o, About: about, Digest: ask.digest, By: ask.caller.Name, Person: ask.caller.Person})
	if err != nil {
		return err
	}
	ask.approval = a.ID
	if a.State == store.ApprovalUsed {
		return nil
	}
	return dr.WithHint(&approvalWanted{a.ID, about}, dr.KindApproval,
		"another person runs: understudy approval approve "+a.ID+"; then ask again, in the same words")
}

// secondForRun is about failovers from a source that answers: nothing presses then.
func (g guard) secondForRun(ctx context.Context, kind, group string) error {
	if !g.s.opts.FourEyes || kind != recovery.KindFailover && kind != recovery.KindPlanned {
		return nil
	}
	reachable, err := g.Backend.SourceReachable(ctx, group)
	if err != nil || !reachable {
		return err
	}
	o, err := g.s.groupObject(ctx, group)
	if err != nil {
		return err
	}
	return g.second(ctx, access.Failover, o, "fail over group "+group+", whose site answers ("+kind+")")
}

func (g guard) secondForPlan(ctx context.Context, q recovery.Request) error {
	if !g.s.opts.FourEyes {
		return nil
	}
	p, err := g.Backend.Plan(ctx, q.Plan, 0)
	if err != nil {
		return err
	}
	return g.secondForRun(ctx, q.Kind, p.Group)
}

// secondForGroup is about a change of a group's policy to one that keeps less.
func (g guard) secondForGroup(ctx context.Context, v dr.Group) error {
	if !g.s.opts.FourEyes {
		return nil
	}
	old, err := g.Backend.Group(ctx, v.Name)
	if err != nil {
		return absent(err)
	}
	list, err := g.Backend.Policies(ctx)
	if err != nil {
		return err
	}
	keeps := map[string][]dr.Tier{}
	for _, p := range list {
		keeps[p.Name] = p.Keep
	}
	name := v.Policy
	if name == "" {
		name = dr.DefaultPolicy().Name
	}
	if !dr.Shortens(keeps[old.Policy], keeps[name]) {
		return nil
	}
	return g.second(ctx, access.Protect, groupObject(old), "keep the recovery points of group "+v.Name+" for less time, by policy "+name+" in place of "+old.Policy+": "+
		keeping(keeps[old.Policy], keeps[name]))
}

// keeping says what is kept before and after a change.
func keeping(before, after []dr.Tier) string {
	return fmt.Sprintf("from %q to %q", dr.FormatTiers(before), dr.FormatTiers(after))
}

// PutPolicy that keeps less than before shortens retention.
func (g guard) PutPolicy(ctx context.Context, p dr.Policy) error {
	if g.s.opts.FourEyes {
		list, err := g.Backend.Policies(ctx)
		if err != nil {
			return err
		}
		for _, old := range list {
			if old.Name != p.Name || !dr.Shortens(old.Keep, p.Keep) {
				continue
			}
			if err := g.second(ctx, access.Configure, access.Object{}, "keep recovery points for less time, by policy "+p.Name+": "+keeping(old.Keep, p.Keep)); err != nil {
				return err
			}
		}
	}
	return g.Backend.PutPolicy(ctx, p)
}

// UnnamePoint lets retention drop a point.
func (g guard) UnnamePoint(ctx context.Context, group, name, by string) (dr.RecoveryPoint, error) {
	o, err := g.s.groupObject(ctx, group)
	if err == nil {
		err = g.second(ctx, access.Replicate, o, "no longer keep the recovery point "+name+" of group "+group)
	}
	if err != nil {
		return dr.RecoveryPoint{}, err
	}
	return g.Backend.UnnamePoint(ctx, group, name, by)
}

func (g guard) Unprotect(ctx context.Context, name string) error {
	o, err := g.s.groupObject(ctx, name)
	if err == nil {
		err = g.second(ctx, access.Unprotect, o, "stop protecting group "+name)
	}
	if err != nil {
		return err
	}
	return g.Backend.Unprotect(ctx, name)
}

func (g guard) RemoveVault(ctx context.Context, name string) error {
	if err := g.second(ctx, access.Configure, access.Object{}, "forget vault "+name); err != nil {
		return err
	}
	return g.Backend.RemoveVault(ctx, name)
}

func (g guard) RemoveSite(ctx context.Context, name string) error {
	if err := g.second(ctx, access.Configure, access.Object{Sites: []string{name}}, "forget site "+name); err != nil {
		return err
	}
	return g.Backend.RemoveSite(ctx, name)
}

// ConfirmMove may delete the machine that was moved.
func (g guard) ConfirmMove(ctx context.Context, run string, deleteSource bool, by string) error {
	if deleteSource {
		o, err := g.s.object(ctx, ofRun, run)
		if err == nil {
			err = g.second(ctx, access.Copy, o, "delete the source of the move "+run)
		}
		if err != nil {
			return err
		}
	}
	return g.Backend.ConfirmMove(ctx, run, deleteSource, by)
}

// Whoever could make a user alone could be two people.

func (g guard) PutUser(ctx context.Context, name string, grants access.Grants, secret string) (store.User, error) {
	if g.s.opts.FourEyes {
		about, err := g.userChange(ctx, name, grants, secret)
		if err == nil {
			err = g.second(ctx, access.ManageAccess, access.Object{}, about)
		}
		if err != nil {
			return store.User{}, err
		}
	}
	return g.Backend.PutUser(ctx, name, grants, secret)
}

// userChange says what a user may do before and after a change.
func (g guard) userChange(ctx context.Context, name string, grants access.Grants, secret string) (string, error) {
	if err := grants.Validate(); err != nil {
		return "", err
	}
	password := ""
	if secret != "" {
		password = ", and set the password"
	}
	old, err := g.Backend.User(ctx, name)
	switch {
	case dr.KindOf(err) == dr.KindNotFound:
		return "add user " + name + " with " + roles(grants) + password, nil
	case err != nil:
		return "", err
	}
	return "change user " + name + " from " + roles(old.Grants) + " to " + roles(grants) + password, nil
}

// roles lists grants for people.
func roles(grants access.Grants) string {
	if len(grants) == 0 {
		return "no role"
	}
	var text []string
	for _, one := range grants.Sorted() {
		where := string(one.Scope)
		if one.Scope == access.Everywhere {
			where = "everything"
		}
		text = append(text, string(one.Role)+" on "+where)
	}
	return strings.Join(text, ", ")
}

func (g guard) AddToken(ctx context.Context, name string, grants access.Grants, ttl time.Duration, by access.Caller) (string, store.Token, error) {
	lasts := "that never ends"
	if ttl > 0 {
		lasts = "for " + dr.FormatDuration(ttl)
	}
	err := grants.Validate()
	if err == nil {
		err = g.second(ctx, access.ManageAccess, access.Object{}, "make token "+name+" "+lasts+" with "+roles(grants))
	}
	if err != nil {
		return "", store.Token{}, err
	}
	return g.Backend.AddToken(ctx, name, grants, ttl, by)
}

// SetPassword of someone else is for those who manage users, who need not know the current one.
func (g guard) SetPassword(ctx context.Context, name, current, secret string, check bool) error {
	who := askingOf(ctx).caller
	if who.Method == methodPassword && who.Name == name {
		return g.Backend.SetPassword(ctx, name, current, secret, true)
	}
	err := must(ctx, access.ManageAccess, access.Object{})
	if err == nil {
		err = g.second(ctx, access.ManageAccess, access.Object{}, "set the password of user "+name)
	}
	if err != nil {
		return err
	}
	return g.Backend.SetPassword(ctx, name, current, secret, false)
}

// Approval is shown to those who may look at what it is about, and to who asked.
func (g guard) Approval(ctx context.Context, id string) (store.Approval, error) {
	a, err := g.Backend.Approval(ctx, id)
	if err == nil && a.Person != askingOf(ctx).caller.Person {
		err = must(ctx, access.Read, a.Object)
	}
	return a, err
}

func (g guard) Approvals(ctx context.Context, waiting bool) ([]store.Approval, error) {
	list, err := g.Backend.Approvals(ctx, waiting)
	var out []store.Approval
	for _, a := range list {
		if a.Person == askingOf(ctx).caller.Person || must(ctx, access.Read, a.Object) == nil {
			out = append(out, a)
		}
	}
	return out, err
}

// DecideApproval needs the right to approve on what it is about; to withdraw what one asked for oneself does not.
func (g guard) DecideApproval(ctx context.Context, id string, approve bool, by access.Caller, note string) (store.Approval, error) {
	a, err := g.Backend.Approval(ctx, id)
	if err == nil && (approve || a.Person != by.Person) {
		err = must(ctx, access.Approve, a.Object)
	}
	if err != nil {
		return a, err
	}
	return g.Backend.DecideApproval(ctx, id, approve, by, note)
}

// noteRun notes a run that a request began.
func noteRun(ctx context.Context) func(store.Run, error) (store.Run, error) {
	return func(r store.Run, err error) (store.Run, error) {
		if ask := askingOf(ctx); err == nil {
			ask.run = r.ID
			if r.Group != "" {
				ask.object = string(access.Group(r.Group))
			}
		}
		return r, err
	}
}

func (g guard) RunDrill(ctx context.Context, q controller.DrillRequest) (store.Run, error) {
	return noteRun(ctx)(g.Backend.RunDrill(ctx, q))
}

func (g guard) RestoreExtensions(ctx context.Context, group string, rehearsal bool, by string) (store.Run, error) {
	return noteRun(ctx)(g.Backend.RestoreExtensions(ctx, group, rehearsal, by))
}
