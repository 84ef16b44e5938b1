// Package access decides who may do what: roles, the verbs that each has, and the scopes in which it is given. It is pure
// rules; passwords, sessions and the record of what was done are kept elsewhere. What is not allowed here is refused.
package access

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"understudy/internal/dr"
)

// A Verb is a kind of thing that one may do. Every operation of the API has one.
type Verb string

// Verbs.
const (
	Read         Verb = "read"          // look at anything but users, tokens and the audit log
	Replicate    Verb = "replicate"     // cycles, pauses, names of recovery points
	Protect      Verb = "protect"       // groups, recovery plans
	Unprotect    Verb = "unprotect"     // stop protecting a group
	TestFailover Verb = "test-failover" // rehearse, now or by timetables
	Failover     Verb = "failover"      // fail over, commit, reprotect, fail back, resolve a split brain
	Approve      Verb = "approve"       // answer what waits for a second person
	Power        Verb = "power"         // start and stop machines
	Extend       Verb = "extend"        // extensions in machines
	Copy         Verb = "copy"          // clones, moves, and grants of access to disks
	Export       Verb = "export"        // take the content of recovery points out: downloads, grants of their disks
	Configure    Verb = "configure"     // sites, vaults, policies, monitors, channels, the extension catalogue
	ManageAccess Verb = "manage-access" // users and tokens
	Audit        Verb = "audit"         // read the audit log
	Self         Verb = "self"          // one's own session and password
)

// verbs are all verbs in the order of the documentation, and what they are for.
var verbs = []struct {
	verb  Verb
	means string
}{
	{Read, "look at anything but users, tokens and the audit log"},
	{Replicate, "run cycles, pause and resume, name recovery points"},
	{Protect, "protect groups and change how; recovery plans"},
	{Unprotect, "stop protecting a group"},
	{TestFailover, "rehearse a failover, clean up after it, and set when that is done"},
	{Failover, "fail over, commit, reprotect, fail back, end a split brain"},
	{Approve, "answer what waits for a second person"},
	{Power, "start and stop machines"},
	{Extend, "install, remove and restore extensions in machines"},
	{Copy, "clone and move machines; end grants of access to disks"},
	{Export, "download and mount disks of recovery points: it takes what is in them out"},
	{Configure, "sites, vaults, policies, monitors, channels, the extension catalogue"},
	{ManageAccess, "users and tokens"},
	{Audit, "read and verify the audit log"},
	{Self, "one's own session and password"},
}

// Verbs returns all verbs.
func Verbs() []Verb {
	list := make([]Verb, len(verbs))
	for i, v := range verbs {
		list[i] = v.verb
	}
	return list
}

// Means says what a verb allows, for people.
func (v Verb) Means() string {
	for _, one := range verbs {
		if one.verb == v {
			return one.means
		}
	}
	return ""
}

// A Role is a set of verbs.
type Role string

// Roles.
const (
	Viewer           Role = "viewer"
	Operator         Role = "operator"
	DrillRunner      Role = "drill-runner"
	FailoverApprover Role = "failover-approver"
	Admin            Role = "admin"
)

// roles are all roles in the order of the documentation, and what they may do.
var roles = []struct {
	role  Role
	verbs []Verb
}{
	{Viewer, []Verb{Read, Self}},
	{DrillRunner, []Verb{Read, TestFailover, Self}},
	{FailoverApprover, []Verb{Read, Approve, Self}},
	{Operator, []Verb{Read, Replicate, Protect, Unprotect, TestFailover, Failover, Power, Extend, Copy, Export, Self}},
	{Admin, Verbs()},
}

// Roles returns all roles.
func Roles() []Role {
	list := make([]Role, len(roles))
	for i, r := range roles {
		list[i] = r.role
	}
	return list
}

// Has reports whether a role has a verb.
func (r Role) Has(v Verb) bool {
	for _, one := range roles {
		if one.role == r {
			return slices.Contains(one.verbs, v)
		}
	}
	return false
}

// A Scope is where a role is given: * (everywhere), site:NAME or group:NAME.
type Scope string

// Everywhere covers every object, and the controller itself.
const Everywhere Scope = "*"

// Site is the scope of a site.
func Site(name string) Scope { return Scope("site:" + name) }

// Group is the scope of a group.
func Group(name string) Scope { return Scope("group:" + name) }

func (s Scope) valid() bool {
	kind, name, ok := strings.Cut(string(s), ":")
	return s == Everywhere || ok && (kind == "site" || kind == "group") && name != "" && !strings.ContainsAny(name, " \t\n")
}

// A Grant gives a role in a scope.
type Grant struct {
	Role  Role  `json:"role"`
	Scope Scope `json:"scope"`
}

// String is the grant as people write it.
func (g Grant) String() string { return string(g.Role) + " " + string(g.Scope) }

// Grants are what a caller was given.
type Grants []Grant

// Validate names the first grant that is no grant.
func (g Grants) Validate() error {
	for _, one := range g {
		if !slices.Contains(Roles(), one.Role) {
			return dr.WithHint(fmt.Errorf("%q is no role", one.Role), dr.KindInvalid, "roles are "+join(Roles()))
		}
		if !one.Scope.valid() {
			return dr.WithHint(fmt.Errorf("%q is no scope", one.Scope), dr.KindInvalid, "a scope is *, site:NAME or group:NAME")
		}
	}
	return nil
}

// Sorted returns the grants in order, each once.
func (g Grants) Sorted() Grants {
	list := slices.Clone(g)
	slices.SortFunc(list, func(a, b Grant) int { return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Scope, b.Scope)) })
	return slices.Compact(list)
}

// An Object is what a verb is about: a group with the sites that it is of, sites alone, or, when it is zero, the
// controller itself.
type Object struct {
	Group string   `json:"group,omitempty"`
	Sites []string `json:"sites,omitempty"`
}

// String names the object.
func (o Object) String() string {
	switch {
	case o.Group != "":
		return "group " + o.Group
	case len(o.Sites) > 0:
		return "site " + strings.Join(o.Sites, " and ")
	}
	return "the controller"
}

// May reports whether a verb is allowed on an object. The scope of a site covers the site, its machines, and groups all of
// whose sites are covered; to look at a group, one of them is enough. Only * covers the controller.
func (g Grants) May(v Verb, o Object) bool {
	if g.has(v, Everywhere) || o.Group != "" && g.has(v, Group(o.Group)) {
		return true
	}
	covered := 0
	for _, name := range o.Sites {
		if g.has(v, Site(name)) {
			covered++
		}
	}
	return covered > 0 && (v == Read || covered == len(o.Sites))
}

func (g Grants) has(v Verb, s Scope) bool {
	return slices.ContainsFunc(g, func(one Grant) bool { return one.Scope == s && one.Role.Has(v) })
}

// Somewhere reports whether a verb is allowed on any object at all.
func (g Grants) Somewhere(v Verb) bool {
	return slices.ContainsFunc(g, func(one Grant) bool { return one.Role.Has(v) })
}

// Verbs returns what is allowed somewhere.
func (g Grants) Verbs() []Verb {
	return slices.DeleteFunc(Verbs(), func(v Verb) bool { return !g.Somewhere(v) })
}

func join[T ~string](list []T) string {
	text := make([]string, len(list))
	for i, v := range list {
		text[i] = string(v)
	}
	return strings.Join(text, ", ")
}

// A Caller is who asks for something.
type Caller struct {
	Name   string // for the record
	Person string // who is behind it: two names of one person are not two people
	Method string // how the caller was recognised: password, token, or oidc and the provider's name
	Owner  string // the user with whom the tokens end that the caller makes; empty for the token in the data folder
	Grants Grants
	// Expires is when the caller has to be recognised anew; zero: never.
	Expires time.Time
}

// May reports whether the caller may do something.
func (c Caller) May(v Verb, o Object) bool { return c.Grants.May(v, o) }
