package api

import (
	"context"
	"encoding/json"

	"understudy/internal/access"
	"understudy/internal/dr"
	"understudy/internal/store"
)

// A need is what an operation needs: one of some verbs on an object, which its path names.
type need struct {
	on    place
	verbs []access.Verb
}

// place is where the object of an operation is named.
type place int

// Places. What lists show is filtered, and what depends on a request's content is checked, by guard.
const (
	nowhere   place = iota // such an operation is refused
	anyone                 // open to those that are not known
	somewhere              // having the verb on anything is enough
	itself                 // the controller
	ofSite                 // a site, a group, a plan or a run in the path
	ofGroup
	ofPlan
	ofRun
)

// String names the place, for people.
func (p place) String() string {
	return [...]string{"nothing", "", "something: lists are filtered, contents checked", "everything (`*`)", "the site", "the group", "the plan's group", "the run's group or sites"}[p]
}

// object is what a request is about, by the name in its path.
func (s *server) object(ctx context.Context, on place, name string) (access.Object, error) {
	switch on {
	case ofSite:
		return access.Object{Sites: []string{name}}, nil
	case ofGroup:
		return s.groupObject(ctx, name)
	case ofPlan:
		p, err := s.inner.Plan(ctx, name, 0)
		if err != nil {
			return access.Object{}, absent(err)
		}
		return s.groupObject(ctx, p.Group)
	case ofRun:
		r, _, err := s.inner.Run(ctx, name)
		if err != nil {
			return access.Object{}, absent(err)
		}
		return s.runObject(ctx, r)
	}
	return access.Object{}, nil
}

// absent makes what does not exist a thing of the controller: only those who may do something everywhere learn that it
// does not.
func absent(err error) error {
	if dr.KindOf(err) == dr.KindNotFound {
		return nil
	}
	return err
}

// groupObject is a group with its sites.
func (s *server) groupObject(ctx context.Context, name string) (access.Object, error) {
	g, err := s.inner.Group(ctx, name)
	if err != nil {
		return access.Object{Group: name}, absent(err)
	}
	return groupObject(g), nil
}

func groupObject(g dr.Group) access.Object {
	o := access.Object{Group: g.Name, Sites: []string{g.Site}}
	if g.Target != "" && g.Target != g.Site {
		o.Sites = append(o.Sites, g.Target)
	}
	return o
}

// runObject is the group of a run; of a clone or a move, the sites between which it copies.
func (s *server) runObject(ctx context.Context, r store.Run) (access.Object, error) {
	if r.Group != "" {
		return s.groupObject(ctx, r.Group)
	}
	var in struct {
		Clone *struct{ Site, Group, To string }
	}
	if len(r.Input) > 0 {
		if err := json.Unmarshal(r.Input, &in); err != nil {
			return access.Object{}, err
		}
	}
	if in.Clone == nil {
		return access.Object{}, nil
	}
	return s.copyObject(ctx, in.Clone.Site, in.Clone.Group, in.Clone.To)
}

// copyObject is what a copy of a machine is about: where it is from and where it goes.
func (s *server) copyObject(ctx context.Context, site, group, to string) (o access.Object, err error) {
	if group != "" {
		if o, err = s.groupObject(ctx, group); err != nil {
			return o, err
		}
		o.Group = "" // the right to a group is none to make machines at a site
	}
	for _, name := range []string{site, to} {
		if name != "" {
			o.Sites = append(o.Sites, name)
		}
	}
	return o, nil
}

// needs says what every operation needs, by its ID. An operation that is not here is refused.
var needs = map[string]need{
	"livez":         {anyone, nil},
	"readyz":        {anyone, nil},
	"login-methods": {anyone, nil},
	"bootstrap":     {anyone, nil},
	"log-in":        {anyone, nil},
	"oidc-login":    {anyone, nil},
	opOIDCCallback:  {anyone, nil},

	"version":      {somewhere, one(access.Self)},
	"show-session": {somewhere, one(access.Self)},
	"log-out":      {somewhere, one(access.Self)},
	"set-password": {somewhere, one(access.Self)}, // of others: guard
	"metrics":      {itself, one(access.Read)},

	"list-sites":    {somewhere, one(access.Read)},
	"add-site":      {itself, one(access.Configure)},
	"show-site":     {ofSite, one(access.Read)},
	"remove-site":   {ofSite, one(access.Configure)},
	"examine-site":  {ofSite, one(access.Read)},
	"sweep-site":    {ofSite, one(access.Configure)},
	"set-collector": {ofSite, one(access.Configure)},

	"preflight-group":   {ofGroup, one(access.Read)},
	"preflight-machine": {ofSite, one(access.Read)},

	"list-all-machines": {somewhere, one(access.Read)},
	"list-machines":     {ofSite, one(access.Read)},
	"power-machine":     {ofSite, one(access.Power)},
	"release-machine":   {ofSite, one(access.Failover)},
	"install-extension": {ofSite, one(access.Extend)},
	"remove-extension":  {ofSite, one(access.Extend)},

	"list-policies": {somewhere, one(access.Read)},
	"put-policy":    {itself, one(access.Configure)},
	"remove-policy": {itself, one(access.Configure)},
	"list-vaults":   {somewhere, one(access.Read)},
	"add-vault":     {itself, one(access.Configure)},
	"show-vault":    {somewhere, one(access.Read)},
	"remove-vault":  {itself, one(access.Configure)},

	"list-groups":  {somewhere, one(access.Read)},
	"protect":      {somewhere, one(access.Protect)},
	"show-group":   {ofGroup, one(access.Read)},
	"unprotect":    {ofGroup, one(access.Unprotect)},
	"status":       {somewhere, one(access.Read)},
	"group-status": {ofGroup, one(access.Read)},
	"sync":         {ofGroup, one(access.Replicate)},
	"pause":        {ofGroup, one(access.Replicate)},
	"resume":       {ofGroup, one(access.Replicate)},

	"overview":      {somewhere, one(access.Read)},
	"list-events":   {somewhere, one(access.Read)},
	"watch-events":  {somewhere, one(access.Read)},
	"group-history": {ofGroup, one(access.Read)},

	"vault-usage":       {somewhere, one(access.Read)},
	"effective-policy":  {somewhere, one(access.Read)},
	"foresee-retention": {ofGroup, one(access.Read)},

	"list-points":  {ofGroup, one(access.Read)},
	"show-point":   {ofGroup, one(access.Read)},
	"name-point":   {ofGroup, one(access.Replicate)},
	"unname-point": {ofGroup, one(access.Replicate)},

	"list-point-machines": {ofGroup, one(access.Read)},
	opDownloadDisk:        {ofGroup, one(access.Export)},
	opMountDisk:           {ofGroup, one(access.Export)},

	"failover":          {ofGroup, rehearseOr(access.Failover)},
	"failback":          {ofGroup, one(access.Failover)},
	"preview-failover":  {ofGroup, one(access.Read)},
	"commit":            {ofGroup, one(access.Failover)},
	"cleanup":           {ofGroup, one(access.TestFailover)},
	"reprotect":         {ofGroup, one(access.Failover)},
	"preview-reprotect": {ofGroup, one(access.Failover)}, // it reads disks of both sides
	"resolve":           {ofGroup, one(access.Failover)},
	"list-fences":       {somewhere, one(access.Read)},

	"list-runs":     {somewhere, one(access.Read)},
	"show-run":      {ofRun, one(access.Read)},
	"watch-run":     {ofRun, one(access.Read)},
	"report-run":    {ofRun, one(access.Read)},
	"show-evidence": {ofRun, one(access.Read)},
	"run-question":  {ofRun, one(access.Read)},
	"answer-run":    {ofRun, rehearseOr(access.Failover, access.Approve)},
	"cancel-run":    {ofRun, rehearseOr(access.Failover, access.Copy, access.Extend)},
	"resume-run":    {ofRun, one(access.Copy)},
	"confirm-move":  {ofRun, one(access.Copy)},

	"list-plans":   {somewhere, one(access.Read)},
	"apply-plan":   {somewhere, one(access.Protect)},
	"check-plan":   {somewhere, one(access.Read)},
	"show-plan":    {ofPlan, one(access.Read)},
	"plan-history": {ofPlan, one(access.Read)},
	"delete-plan":  {ofPlan, one(access.Protect)},
	"run-plan":     {ofPlan, rehearseOr(access.Failover)},

	"list-drills":      {somewhere, one(access.Read)},
	"show-drill":       {ofGroup, one(access.Read)},
	"run-drill":        {ofGroup, one(access.TestFailover)},
	"schedule-drill":   {ofGroup, one(access.TestFailover)},
	"unschedule-drill": {ofGroup, one(access.TestFailover)},

	"list-extensions":        {somewhere, one(access.Read)},
	"group-extensions":       {ofGroup, one(access.Read)},
	"restore-extensions":     {ofGroup, one(access.Extend)},
	"list-catalogue":         {somewhere, one(access.Read)},
	"add-catalogue-entry":    {itself, one(access.Configure)},
	"remove-catalogue-entry": {itself, one(access.Configure)},

	"preview-clone": {somewhere, one(access.Copy)},

	"clone":        {somewhere, one(access.Copy)},
	"move":         {somewhere, one(access.Copy)},
	"list-grants":  {somewhere, one(access.Read)},
	"revoke-grant": {somewhere, []access.Verb{access.Copy, access.Export}}, // of copies, or of recovery points: guard

	"list-monitors":      {somewhere, one(access.Read)},
	"show-monitor":       {somewhere, one(access.Read)},
	"add-monitor":        {itself, one(access.Configure)},
	"remove-monitor":     {itself, one(access.Configure)},
	"test-monitor":       {itself, one(access.Read)},
	"list-channels":      {itself, one(access.Configure)},
	"put-channel":        {itself, one(access.Configure)},
	"remove-channel":     {itself, one(access.Configure)},
	"test-channel":       {itself, one(access.Configure)},
	"list-notifications": {somewhere, one(access.Read)},

	"list-problems":              {somewhere, one(access.Read)},
	"retry-notification":         {itself, one(access.Configure)},
	"drop-notification":          {itself, one(access.Configure)},
	"list-notification-rules":    {itself, one(access.Read)},
	"put-notification-rule":      {itself, one(access.Configure)},
	"remove-notification-rule":   {itself, one(access.Configure)},
	"show-notification-settings": {itself, one(access.Read)},
	"put-notification-settings":  {itself, one(access.Configure)},

	"list-approvals":   {somewhere, one(access.Read)},
	"show-approval":    {somewhere, one(access.Read)},
	"approve-approval": {somewhere, one(access.Approve)},
	"reject-approval":  {somewhere, one(access.Read)}, // one's own, or with the right to approve: guard

	"list-audit":   {itself, one(access.Audit)},
	"verify-audit": {itself, one(access.Audit)},
	"export-audit": {itself, one(access.Audit)},

	"list-users":   {itself, one(access.ManageAccess)},
	"show-user":    {itself, one(access.ManageAccess)},
	"put-user":     {itself, one(access.ManageAccess)},
	"remove-user":  {itself, one(access.ManageAccess)},
	"list-tokens":  {itself, one(access.ManageAccess)},
	"add-token":    {itself, one(access.ManageAccess)},
	"remove-token": {itself, one(access.ManageAccess)},
}

func one(v access.Verb) []access.Verb { return []access.Verb{v} }

// rehearseOr is for operations of which guard finds out whether they are about a rehearsal.
func rehearseOr(more ...access.Verb) []access.Verb {
	return append([]access.Verb{access.TestFailover}, more...)
}
