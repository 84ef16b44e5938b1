package api

import (
	"context"
	"fmt"
	"slices"

	"understudy/internal/access"
	"understudy/internal/controller"
	"understudy/internal/dr"
	"understudy/internal/grant"
	"understudy/internal/recovery"
	"understudy/internal/recovery/plan"
	"understudy/internal/store"
	"understudy/internal/watch"
)

// guard is the backend as the caller of a request may use it. The middleware has checked what the path of an operation
// names; guard leaves out of lists what the caller may not look at, and checks what only the content of a request tells.
type guard struct {
	Backend
	s *server
}

// must returns an error unless the caller may do something.
func must(ctx context.Context, v access.Verb, o access.Object) error {
	if who := askingOf(ctx).caller; !who.May(v, o) {
		return forbidden(who, v, o)
	}
	return nil
}

func (g guard) mustGroup(ctx context.Context, v access.Verb, name string) error {
	if must(ctx, v, access.Object{}) == nil { // what is allowed everywhere needs no look at the group
		return nil
	}
	o, err := g.s.groupObject(ctx, name)
	if err != nil {
		return err
	}
	return must(ctx, v, o)
}

// seen returns those of a list that the caller may look at; at says what an element is about, by the group named.
func seen[T any](ctx context.Context, g guard, list []T, err error, at func(T) (group, site string)) ([]T, error) {
	who := askingOf(ctx).caller
	if err != nil || who.May(access.Read, access.Object{}) {
		return list, err
	}
	groups, err := g.Backend.Groups(ctx)
	if err != nil {
		return nil, err
	}
	objects := map[string]access.Object{}
	for _, one := range groups {
		objects[one.Name] = groupObject(one)
	}
	return slices.DeleteFunc(slices.Clone(list), func(v T) bool {
		group, site := at(v)
		o, ok := objects[group]
		switch {
		case ok:
		case group != "":
			o = access.Object{Group: group}
		case site != "":
			o = access.Object{Sites: []string{site}}
		}
		return !who.May(access.Read, o)
	}), nil
}

// Sites shows the settings of a site to those who may change them: secrets may be among them.
func (g guard) Sites(ctx context.Context) ([]dr.Site, error) {
	list, err := g.Backend.Sites(ctx)
	list, err = seen(ctx, g, list, err, func(v dr.Site) (string, string) { return "", v.Name })
	for i := range list {
		list[i] = veil(ctx, list[i])
	}
	return list, err
}

func (g guard) Site(ctx context.Context, name string) (dr.Site, error) {
	v, err := g.Backend.Site(ctx, name)
	return veil(ctx, v), err
}

func veil(ctx context.Context, v dr.Site) dr.Site {
	if must(ctx, access.Configure, access.Object{Sites: []string{v.Name}}) != nil {
		v.Config = nil
	}
	return v
}

func (g guard) Groups(ctx context.Context) ([]dr.Group, error) {
	list, err := g.Backend.Groups(ctx)
	return seen(ctx, g, list, err, func(v dr.Group) (string, string) { return v.Name, "" })
}

// Problems are of groups, of sites, or of the controller.
func (g guard) Problems(ctx context.Context) ([]watch.Problem, error) {
	list, err := g.Backend.Problems(ctx)
	return seen(ctx, g, list, err, func(v watch.Problem) (string, string) {
		if len(v.Event.Sites) == 1 {
			return v.Event.Group, v.Event.Sites[0]
		}
		return v.Event.Group, ""
	})
}

// Protect needs the right to the group as it is, and to what it shall be. To choose a policy that keeps less is to shorten
// retention.
func (g guard) Protect(ctx context.Context, v dr.Group) (dr.Group, error) {
	if err := must(ctx, access.Protect, groupObject(v)); err != nil {
		return v, err
	}
	if err := g.mustGroup(ctx, access.Protect, v.Name); err != nil {
		return v, err
	}
	askingOf(ctx).object = string(access.Group(v.Name))
	if err := g.secondForGroup(ctx, v); err != nil {
		return v, err
	}
	return g.Backend.Protect(ctx, v)
}

func (g guard) Status(ctx context.Context, name string) ([]controller.Status, error) {
	list, err := g.Backend.Status(ctx, name)
	if name != "" {
		return list, err
	}
	return seen(ctx, g, list, err, func(v controller.Status) (string, string) { return v.Group.Name, "" })
}

func (g guard) Fences(ctx context.Context, group string) ([]store.Fence, error) {
	list, err := g.Backend.Fences(ctx, group)
	return seen(ctx, g, list, err, func(v store.Fence) (string, string) { return v.Group, "" })
}

func (g guard) Drills(ctx context.Context) ([]controller.Drill, error) {
	list, err := g.Backend.Drills(ctx)
	return seen(ctx, g, list, err, func(v controller.Drill) (string, string) { return v.Group, "" })
}

func (g guard) Extensions(ctx context.Context, group string) ([]controller.ExtensionInventory, error) {
	list, err := g.Backend.Extensions(ctx, group)
	return seen(ctx, g, list, err, func(v controller.ExtensionInventory) (string, string) { return v.Group, "" })
}

func (g guard) Monitors(ctx context.Context) ([]store.Monitor, error) {
	list, err := g.Backend.Monitors(ctx)
	return seen(ctx, g, list, err, func(v store.Monitor) (string, string) { return "", v.Site })
}

// Monitor tells of the monitor's site.
func (g guard) Monitor(ctx context.Context, name string) (store.Monitor, error) {
	m, err := g.Backend.Monitor(ctx, name)
	var o access.Object // of one that does not exist: the controller
	if err == nil {
		o.Sites = []string{m.Site}
	}
	if wrong := must(ctx, access.Read, o); wrong != nil {
		return store.Monitor{}, wrong
	}
	return m, err
}

func (g guard) Plans(ctx context.Context, group string) ([]store.Plan, error) {
	list, err := g.Backend.Plans(ctx, group)
	return seen(ctx, g, list, err, func(v store.Plan) (string, string) { return v.Group, "" })
}

// CheckPlan tells of the plan's group.
func (g guard) CheckPlan(ctx context.Context, file, text string) (plan.Plan, []plan.Problem, []string, error) {
	p, problems, warnings, err := g.Backend.CheckPlan(ctx, file, text)
	if err == nil && p.Group != "" {
		err = g.mustGroup(ctx, access.Read, p.Group)
	}
	return p, problems, warnings, err
}

// ApplyPlan needs the right to the group that the plan names, and to that of the plan which it replaces. A plan that runs
// scripts on the controller, or reads secrets there, acts with all of the controller's rights: it takes those of who configures it.
func (g guard) ApplyPlan(ctx context.Context, file, text, by string) (store.Plan, bool, []string, error) {
	p, problems, _, err := g.Backend.CheckPlan(ctx, file, text)
	if err == nil && len(problems) == 0 {
		err = g.mustPlan(ctx, p)
	}
	if err != nil {
		return store.Plan{}, false, nil, err
	}
	return g.Backend.ApplyPlan(ctx, file, text, by) // which names the problems
}

func (g guard) mustPlan(ctx context.Context, p plan.Plan) error {
	if p.ActsAsController() {
		if err := must(ctx, access.Configure, access.Object{}); err != nil {
			return fmt.Errorf("plan %s runs scripts or reads secrets at the controller: %w", p.Name, err)
		}
	}
	if err := g.mustGroup(ctx, access.Protect, p.Group); err != nil {
		return err
	}
	old, err := g.Backend.Plan(ctx, p.Name, 0)
	if err != nil {
		return absent(err)
	}
	return g.mustGroup(ctx, access.Protect, old.Group)
}

// runVerb is what one has to be allowed to begin a run of a kind, or to stop it.
func runVerb(kind string) access.Verb {
	switch kind {
	case recovery.KindTest, recovery.KindDrill, recovery.KindCleanup:
		return access.TestFailover
	case recovery.KindClone, recovery.KindMove:
		return access.Copy
	case recovery.KindExtensions:
		return access.Extend
	}
	return access.Failover
}

func (g guard) StartRun(ctx context.Context, kind, group, point, by string) (store.Run, error) {
	if err := g.mustGroup(ctx, runVerb(kind), group); err != nil {
		return store.Run{}, err
	}
	if err := g.secondForRun(ctx, kind, group); err != nil {
		return store.Run{}, err
	}
	return noteRun(ctx)(g.Backend.StartRun(ctx, kind, group, point, by))
}

func (g guard) StartRequest(ctx context.Context, q recovery.Request) (store.Run, error) {
	if err := g.mustGroup(ctx, runVerb(q.Kind), q.Group); err != nil {
		return store.Run{}, err
	}
	if err := g.secondForRun(ctx, q.Kind, q.Group); err != nil {
		return store.Run{}, err
	}
	return noteRun(ctx)(g.Backend.StartRequest(ctx, q))
}

func (g guard) Failback(ctx context.Context, q recovery.Request) (store.Run, error) {
	if err := g.mustGroup(ctx, runVerb(q.Kind), q.Group); err != nil {
		return store.Run{}, err
	}
	if err := g.secondForRun(ctx, q.Kind, q.Group); err != nil {
		return store.Run{}, err
	}
	return noteRun(ctx)(g.Backend.Failback(ctx, q))
}

// StartPlan needs the right to the plan's group, whatever group the request names.
func (g guard) StartPlan(ctx context.Context, q recovery.Request) (store.Run, error) {
	if err := must(ctx, runVerb(q.Kind), access.Object{}); err != nil {
		o, oerr := g.s.object(ctx, ofPlan, q.Plan)
		if oerr != nil {
			return store.Run{}, oerr
		}
		if err := must(ctx, runVerb(q.Kind), o); err != nil {
			return store.Run{}, err
		}
	}
	if err := g.secondForPlan(ctx, q); err != nil {
		return store.Run{}, err
	}
	return noteRun(ctx)(g.Backend.StartPlan(ctx, q))
}

// runNeed checks that the caller has one of some verbs on what a run is about.
func (g guard) runNeed(ctx context.Context, id string, verbs func(store.Run) []access.Verb) error {
	r, _, err := g.Backend.Run(ctx, id)
	if err != nil {
		return err
	}
	o, err := g.s.runObject(ctx, r)
	if err != nil {
		return err
	}
	allowed := verbs(r)
	for _, v := range allowed {
		if must(ctx, v, o) == nil {
			return nil
		}
	}
	return must(ctx, allowed[0], o)
}

func (g guard) CancelRun(ctx context.Context, id, by string) error {
	if err := g.runNeed(ctx, id, func(r store.Run) []access.Verb { return one(runVerb(r.Kind)) }); err != nil {
		return err
	}
	return g.Backend.CancelRun(ctx, id, by)
}

// AnswerRun: whoever may rehearse answers what a rehearsal asks. Else approvals are for those who may approve, and what to
// do about a failure is for those who may begin such a run.
func (g guard) AnswerRun(ctx context.Context, id string, a recovery.Answer) (store.Question, error) {
	err := g.runNeed(ctx, id, func(r store.Run) []access.Verb {
		v := runVerb(r.Kind)
		if v == access.Failover && (a.Answer == recovery.AnswerApprove || a.Answer == recovery.AnswerReject) {
			return one(access.Approve)
		}
		return one(v)
	})
	if err != nil {
		return store.Question{}, err
	}
	return g.Backend.AnswerRun(ctx, id, a)
}

// mustCopy checks the right to both ends of a copy.
func (g guard) mustCopy(ctx context.Context, c recovery.CloneSpec) error {
	if must(ctx, access.Copy, access.Object{}) == nil {
		return nil
	}
	o, err := g.s.copyObject(ctx, c.Site, c.Group, c.To)
	if err != nil {
		return err
	}
	return must(ctx, access.Copy, o)
}

// Grants are of disks of recovery points, which are their groups', or of machines, which are their sites'.
func (g guard) Grants(ctx context.Context, active bool) ([]grant.Record, error) {
	list, err := g.Backend.Grants(ctx, active)
	return seen(ctx, g, list, err, func(v grant.Record) (string, string) {
		return recovery.GrantedGroup(v.Disk), recovery.GrantedSite(v.Disk)
	})
}

// RevokeGrant takes what beginning the same takes: the right to copies, or to take data out of the group's points.
func (g guard) RevokeGrant(ctx context.Context, id, by string) error {
	if must(ctx, access.Copy, access.Object{}) == nil {
		return g.Backend.RevokeGrant(ctx, id, by)
	}
	list, err := g.Backend.Grants(ctx, true)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(r grant.Record) bool { return r.ID == id })
	if i < 0 {
		return must(ctx, access.Copy, access.Object{}) // who may do it anywhere learns that there is none
	}
	if group := recovery.GrantedGroup(list[i].Disk); list[i].Run == "" && group != "" {
		err = g.mustGroup(ctx, access.Export, group)
	} else {
		err = g.runNeed(ctx, list[i].Run, func(store.Run) []access.Verb { return one(access.Copy) })
	}
	if err != nil {
		return err
	}
	return g.Backend.RevokeGrant(ctx, id, by)
}

func (g guard) PreviewClone(ctx context.Context, c recovery.CloneSpec) (recovery.ClonePreview, error) {
	if err := g.mustCopy(ctx, c); err != nil {
		return recovery.ClonePreview{}, err
	}
	return g.Backend.PreviewClone(ctx, c)
}

// Preflight tells of the site that it is about, too.
func (g guard) Preflight(ctx context.Context, q recovery.PreflightQuery) (recovery.Preflight, error) {
	if q.Target != "" {
		if err := must(ctx, access.Read, access.Object{Sites: []string{q.Target}}); err != nil {
			return recovery.Preflight{}, err
		}
	}
	return g.Backend.Preflight(ctx, q)
}

func (g guard) Copy(ctx context.Context, kind string, c recovery.CloneSpec, by string) (store.Run, error) {
	if err := g.mustCopy(ctx, c); err != nil {
		return store.Run{}, err
	}
	return noteRun(ctx)(g.Backend.Copy(ctx, kind, c, by))
}
