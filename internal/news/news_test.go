package news

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"understudy/internal/access"
	"understudy/internal/dr"
	"understudy/internal/notify"
	"understudy/internal/recovery"
	"understudy/internal/site"
	"understudy/internal/store"
	"understudy/internal/watch"
)

var at = time.Date(2026, 11, 28, 3, 0, 0, 0, time.UTC)

// text is an event as a person reads it.
func text(e notify.Event) string {
	lines := []string{fmt.Sprintf("%s %s %s: %s", e.Severity, e.Kind, e.Topic, e.Subject)}
	if e.Text != "" {
		lines = append(lines, e.Text)
	}
	if e.Loss != "" {
		lines = append(lines, "lose "+e.Loss)
	}
	for _, n := range e.Next {
		lines = append(lines, "> "+n)
	}
	return strings.Join(lines, "\n")
}

func compare(t *testing.T, name, got, want string) {
	t.Helper()
	if want = strings.TrimSpace(want); got != want {
		t.Errorf("%s:\n%s\nwant:\n%s", name, got, want)
	}
}

// wellFormed is what holds of everything that is told.
func wellFormed(t *testing.T, name string, e notify.Event) {
	t.Helper()
	if e.Subject == "" || len(e.Subject) > 140 || strings.Contains(e.Subject, "\n") || strings.HasSuffix(e.Subject, ".") {
		t.Errorf("%s: subject %q", name, e.Subject)
	}
	if !slices.Contains(notify.Topics(), e.Topic) || !slices.Contains(notify.Severities(), e.Severity) || e.Source == "" || e.Link == "" || e.Link[0] != '/' {
		t.Errorf("%s: %+v", name, e)
	}
	for _, n := range e.Next {
		if !strings.HasPrefix(n, "understudy ") {
			t.Errorf("%s: %q is no command", name, n)
		}
	}
}

func raw(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

func TestRunEnded(t *testing.T) {
	point := recovery.Result{Point: "2-41", PointTime: at.Add(-4 * time.Second), RPO: 4, RTO: 14.2, Epoch: 2}
	stray := point
	stray.Source = []recovery.SourceResult{{Name: "db", Held: true}, {Name: "web", Error: "no route to host"}}
	for _, tt := range []struct {
		name, kind string
		state      store.RunState
		result     recovery.Result
		prot       store.Protection
		key        string
		want       string
	}{
		{"failover", recovery.KindFailover, store.RunSucceeded, point, store.Protection{Run: "r1", Protection: dr.Protection{State: dr.StateFailedOver}}, "failover/shop", `
warning success failover: shop runs at west now, up after 14s, the last 4s are lost
It was failed over from east from the recovery point of 2026-11-28 02:59:56 UTC (2-41). Nothing protects it there until it is committed and reprotected.
lose the last 4s
> understudy status shop
> understudy commit shop
> understudy reprotect shop`},
		{"failover, source not held", recovery.KindFailover, store.RunSucceeded, stray, store.Protection{}, "failover/shop", `
critical success failover: shop runs at west now, up after 14s, the last 4s are lost
It was failed over from east from the recovery point of 2026-11-28 02:59:56 UTC (2-41). Nothing protects it there until it is committed and reprotected.
web could not be held at east (no route to host): when that site is back, it may run twice.
lose the last 4s
> understudy status shop
> understudy commit shop
> understudy reprotect shop`},
		{"failover failed half way", recovery.KindFailover, store.RunFailed, recovery.Result{}, store.Protection{Protection: dr.Protection{State: dr.StateFailoverFailed}}, "failover/shop", `
critical failure failover: the failover of shop to west failed
start db: no such image
east does not own the group any more, and west did not bring it up: it may run nowhere.
> understudy vault list
> understudy run show r1
> understudy status shop`},
		{"failover failed before anything", recovery.KindFailover, store.RunFailed, recovery.Result{}, store.Protection{Protection: dr.Protection{State: dr.StateProtected}}, "", `
critical failure failover: the failover of shop to west failed
start db: no such image
> understudy vault list
> understudy run show r1`},
		{"failover cancelled half way", recovery.KindFailover, store.RunCancelled, recovery.Result{}, store.Protection{Protection: dr.Protection{State: dr.StateFailoverFailed}}, "failover/shop", `
critical failure failover: the failover of shop to west was cancelled
east does not own the group any more, and west did not bring it up: it may run nowhere.
> understudy vault list
> understudy run show r1
> understudy status shop`},
		{"what came after failed", recovery.KindFailover, store.RunFailed, point, store.Protection{Run: "r1", Protection: dr.Protection{State: dr.StateFailedOver}}, "", `
critical failure failover: the failover of shop to west failed
start db: no such image
shop runs at west all the same: what failed came after that.
> understudy vault list
> understudy run show r1`},
		{"planned", recovery.KindPlanned, store.RunSucceeded, recovery.Result{RTO: 9}, store.Protection{}, "failover/shop", `
warning success failover: shop runs at west now, up after 9s
It was failed over from east. Nothing protects it there until it is committed and reprotected.
> understudy status shop
> understudy commit shop
> understudy reprotect shop`},
		{"planned, given back", recovery.KindPlanned, store.RunFailed, recovery.Result{Restored: true}, store.Protection{Protection: dr.Protection{State: dr.StateProtected}}, "", `
warning failure failover: the planned failover of shop to west failed
start db: no such image
Production goes on at east.
> understudy vault list
> understudy run show r1`},
		{"reprotect", recovery.KindReprotect, store.RunSucceeded, recovery.Result{}, store.Protection{}, "failover/shop", `
info success failover: shop is protected again
Recovery points are made where it runs now.`},
		{"reprotect failed", recovery.KindReprotect, store.RunFailed, recovery.Result{}, store.Protection{Protection: dr.Protection{State: dr.StateReprotectFailed}}, "failover/shop", `
critical failure failover: the reprotection of shop failed
start db: no such image
The group runs, and nothing protects it.
> understudy vault list
> understudy run show r1
> understudy status shop`},
		{"commit", recovery.KindCommit, store.RunSucceeded, recovery.Result{}, store.Protection{}, "", `
info success failover: the failover of shop is committed
Nothing protects it until it is reprotected.
> understudy reprotect shop`},
		{"drill", recovery.KindDrill, store.RunSucceeded, point, store.Protection{}, "drill/shop", `
info success drill: the drill of shop passed, up after 14s
It came up at west from the recovery point of 2026-11-28 02:59:56 UTC (2-41), and nothing of the drill is left.
> understudy drill report r1`},
		{"drill failed", recovery.KindDrill, store.RunFailed, recovery.Result{Drill: &recovery.DrillResult{Kept: true}}, store.Protection{}, "drill/shop", `
warning failure drill: the drill of shop failed
start db: no such image
Its machines were left at west to be looked at. Production is not concerned.
> understudy vault list
> understudy run show r1`},
		{"drill cancelled", recovery.KindDrill, store.RunCancelled, recovery.Result{}, store.Protection{}, "", `
info information drill: the drill of shop was cancelled
Production is not concerned. But it is not proven that the group can be recovered.
> understudy vault list
> understudy run show r1`},
		{"test", recovery.KindTest, store.RunSucceeded, recovery.Result{RTO: 14}, store.Protection{}, "", `
info success test: shop runs as a test at west, up after 14s
Production goes on. The test stays until it is cleaned up; only then it counts as a proof.
> understudy cleanup shop`},
		{"clean-up", recovery.KindCleanup, store.RunSucceeded, recovery.Result{}, store.Protection{}, "", ""},
		{"resolve failed", recovery.KindResolve, store.RunFailed, recovery.Result{}, store.Protection{Protection: dr.Protection{State: dr.StateResolveFailed}}, "failover/shop", `
critical failure failover: the end of the split brain of shop failed
start db: no such image
It is not settled which site the group runs at.
> understudy vault list
> understudy run show r1
> understudy status shop`},
	} {
		run := store.Run{ID: "r1", Kind: tt.kind, Group: "shop", State: tt.state, Ended: at, Result: raw(tt.result),
			Input: raw(recovery.Input{Run: "r1", Kind: tt.kind, Group: "shop", Source: "east", Target: "west", Vault: "main"})}
		if tt.state != store.RunSucceeded {
			run.Error, run.Hint = "start db: no such image", "understudy vault list"
		}
		events := RunEnded(run, tt.prot)
		if tt.want == "" {
			if len(events) != 0 {
				t.Errorf("%s: %v", tt.name, events)
			}
			continue
		}
		if len(events) != 1 {
			t.Fatalf("%s: %v", tt.name, events)
		}
		e := events[0]
		wellFormed(t, tt.name, e)
		compare(t, tt.name, text(e), tt.want)
		if e.Key != tt.key || e.ID != "run-r1" || e.Run != "r1" || strings.Join(e.Sites, " ") != "east west" || !e.Time.Equal(at) {
			t.Errorf("%s: %+v", tt.name, e)
		}
	}
	move := store.Run{ID: "r2", Kind: recovery.KindMove, About: "db at east", State: store.RunFailed, Error: "no space", Ended: at, Input: raw(recovery.Input{})}
	if e := RunEnded(move, store.Protection{})[0]; e.Topic != notify.TopicCopy || e.Subject != "the move of db at east failed" || e.Group != "" {
		t.Errorf("%+v", e)
	}
	if e := RunEnded(store.Run{ID: "r3", Kind: recovery.KindFailover, Group: "shop", State: store.RunFailed, Ended: at, Result: json.RawMessage("{"), Input: json.RawMessage("[")}, store.Protection{}); len(e) != 1 {
		t.Errorf("a run that cannot be read is not told: %v", e)
	}
}

// only returns the conditions that are wrong.
func wrong(list []watch.Condition) (out []watch.Condition) {
	for _, c := range list {
		if !c.Unknown && c.Over == "" {
			out = append(out, c)
		}
	}
	return out
}

func TestGroup(t *testing.T) {
	shop := dr.Group{Name: "shop", Site: "east", Target: "west", Vault: "main"}
	protected := store.Protection{Protection: dr.Protection{State: dr.StateProtected}}
	base := Group{Group: shop, Protection: protected, RPO: 5 * time.Second, Recoverable: true, Lose: 3 * time.Second, RPOMet: true, Replicates: true}
	for _, tt := range []struct {
		name   string
		change func(*Group)
		lasts  time.Duration
		want   string
		end    string
	}{
		{"well", func(*Group) {}, 0, "", ""},
		{"too slow", func(g *Group) { g.RPOMet, g.Lose = false, 65*time.Second }, time.Minute, `
warning  lag: shop: a failover now would lose 1m5s, the target is 5s
Cycles take longer than the target allows, or wait for others: the source or the way to the vault is too slow.
lose 1m5s
> understudy status shop`, "shop is within its target of 5s again"},
		{"much too slow", func(g *Group) { g.RPOMet, g.Lose = false, 3*time.Hour+30*time.Second }, time.Minute, `
critical  lag: shop: a failover now would lose 3h, the target is 5s
Cycles take longer than the target allows, or wait for others: the source or the way to the vault is too slow.
lose 3h
> understudy status shop`, "shop is within its target of 5s again"},
		{"paused", func(g *Group) { g.RPOMet, g.Lose, g.Paused, g.Replicates = false, 20*time.Minute, true, false }, 15 * time.Minute, `
warning  lag: shop: a failover now would lose 20m, the target is 5s
Replication was paused by a person.
lose 20m
> understudy resume shop`, "shop is within its target of 5s again"},
		{"cycles fail", func(g *Group) {
			g.Failures, g.Error, g.ErrorKind, g.Hint = 4, "east does not answer", dr.KindUnavailable, "is it on?"
		}, time.Minute, `
warning  replication: replication of shop fails
4 cycles in a row: east does not answer
lose 3s
> understudy status shop`, "replication of shop works again"},
		{"fenced", func(g *Group) { g.Failures, g.Fenced, g.Error = 1, true, "west owns it" }, time.Minute, `
critical  replication: replication of shop is refused: another site owns it
1 cycles in a row: west owns it
lose 3s
> understudy status shop`, "replication of shop works again"},
		{"first copy fails", func(g *Group) {
			g.Recoverable, g.RPOMet, g.Failures, g.Error, g.Hint = false, false, 2, "no space left on device", "understudy vault stats --vault main"
		}, time.Minute, `
warning  replication: replication of shop fails
2 cycles in a row: no space left on device
There is no recovery point yet: nothing can be recovered.
> understudy vault stats --vault main
> understudy status shop`, "replication of shop works again"},
		{"after a failover", func(g *Group) {
			g.Protection.State, g.Unprotected, g.RPOMet, g.Lose, g.Group.Site, g.Group.Target, g.Replicates = dr.StateFailedOver, true, false, 2*time.Hour, "west", "east", false
		}, time.Hour, `
warning  lag: shop runs at west without protection since its failover: 2h would be lost
Nothing copies what it writes until it is committed and reprotected.
lose 2h
> understudy commit shop
> understudy reprotect shop`, "shop is protected again"},
		{"during a failover", func(g *Group) { g.Protection.State, g.RPOMet, g.Replicates = dr.StateFailover, false, false }, 0, "", ""},
		{"failover failed", func(g *Group) {
			g.Protection.State, g.Protection.Run, g.RPOMet, g.Replicates = dr.StateFailoverFailed, "r1", false, false
		}, 30 * time.Second, `
critical  failover: shop is in state failover-failed
east does not own the group any more, and west did not bring it up: it may run nowhere.
> understudy status shop
> understudy run show r1`, "shop is well again"},
		{"split brain", func(g *Group) {
			g.Protection.SplitBrain, g.Group.Site, g.Group.Target = true, "west", "east"
			g.Fences = []store.Fence{{Site: "east", Machine: "db", SplitBrain: at}, {Site: "east", Machine: "web", SplitBrain: at, Error: "no rights"}}
		}, 0, `
critical  split-brain: split brain of shop: machines came back at east, and may be running twice
db came back at east at 2026-11-28 03:00:00 UTC; it was stopped and is held.
web came back at east at 2026-11-28 03:00:00 UTC, and could not be stopped: no rights
It runs at west. Nothing was overwritten. What its former site wrote since the failover is in no recovery point.
> understudy run split-brain --group shop
> understudy resolve shop --keep west
> understudy resolve shop --keep east`, "the split brain of shop is over"},
		{"drill overdue", func(g *Group) {
			g.Schedule = &store.DrillSchedule{Reminded: at, Problem: "west is down", Hint: "understudy site doctor west"}
			g.Protection.ProvenAt = at
		}, 0, `
warning  drill: the drill of shop is overdue: it was last proven to boot at 2026-11-28 03:00:00 UTC
The last one could not begin: west is down
> understudy site doctor west
> understudy drill run shop`, "shop is proven again"},
		{"never proven", func(g *Group) { g.Schedule = &store.DrillSchedule{Reminded: at} }, 0, `
warning  drill: the drill of shop is overdue: it was never proven to boot
> understudy drill run shop`, "shop is proven again"},
		{"proven since", func(g *Group) {
			g.Schedule = &store.DrillSchedule{Reminded: at}
			g.Protection.ProvenAt = at.Add(time.Second)
		}, 0, "", ""},
		{"nothing is known", func(g *Group) { g.Unknown, g.RPOMet, g.Failures = true, false, 9 }, 0, "", ""},
	} {
		g := base
		tt.change(&g)
		keys := map[string]bool{}
		for _, c := range g.Conditions() {
			if c.Event.Key == "" || keys[c.Event.Key] {
				t.Errorf("%s: key %q is there twice, or empty", tt.name, c.Event.Key)
			}
			keys[c.Event.Key] = true
		}
		list := wrong(g.Conditions())
		if tt.want == "" {
			if len(list) != 0 {
				t.Errorf("%s: %+v", tt.name, list)
			}
			continue
		}
		if len(list) != 1 {
			t.Errorf("%s: %+v", tt.name, list)
			continue
		}
		c := list[0]
		wellFormed(t, tt.name, c.Event)
		compare(t, tt.name, text(c.Event), tt.want)
		if c.For != tt.lasts || c.End != tt.end {
			t.Errorf("%s: lasts %s, end %q", tt.name, c.For, c.End)
		}
	}
}

func TestVault(t *testing.T) {
	broken := Group{Group: dr.Group{Name: "shop"}, Error: "segment 2-41: bad digest", Hint: "understudy vault repair --vault main --group shop"}
	for _, tt := range []struct {
		name string
		v    Vault
		want string
	}{
		{"not looked at", Vault{}, ""},
		{"well", Vault{Looked: true}, ""},
		{"away", Vault{Looked: true, Err: errors.New("open vault: connection refused"), Groups: []string{"shop", "mail"}}, `
critical  vault: vault main cannot be reached
open vault: connection refused
No recovery points are made of shop, mail, and none of them can be recovered from it meanwhile.
> understudy vault list`},
		{"away and not used", Vault{Looked: true, Err: errors.New("gone")}, `
warning  vault: vault main cannot be reached
gone
> understudy vault list`},
		{"damaged", Vault{Looked: true, Err: dr.WithHint(errors.New("vault.json: bad digest"), dr.KindCorrupt, "")}, `
critical  vault: vault main is damaged
vault.json: bad digest
Recovery points may be damaged, too. Delete nothing before you know which.
> understudy vault verify --vault main`},
		{"damage found", Vault{Looked: true, Groups: []string{"shop"}, Broken: []Group{broken}}, `
critical  vault: damaged data was found on the way of shop into vault main
shop: segment 2-41: bad digest
Recovery points may be damaged, too. Delete nothing before you know which.
> understudy vault verify --vault main
> understudy vault repair --vault main --group shop`},
	} {
		tt.v.Name = "main"
		list := wrong(tt.v.Conditions())
		if tt.want == "" {
			if len(list) != 0 {
				t.Errorf("%s: %+v", tt.name, list)
			}
			continue
		}
		if len(list) != 1 {
			t.Fatalf("%s: %+v", tt.name, list)
		}
		wellFormed(t, tt.name, list[0].Event)
		compare(t, tt.name, text(list[0].Event), tt.want)
	}
}

func TestWaits(t *testing.T) {
	q := store.Question{Run: "r1", Topic: "approve/check", Message: "is the database consistent?", Answers: []string{"approve", "reject"}, Until: at}
	run := store.Run{ID: "r1", Kind: recovery.KindFailover, Group: "shop", State: store.RunWaiting, Input: raw(recovery.Input{Target: "west"})}
	c := Waits(q, run, dr.Group{Name: "shop", Site: "east", Target: "west"})
	wellFormed(t, "waits", c.Event)
	compare(t, "waits", text(c.Event), `
critical  approval: failover of shop waits for a person
is the database consistent?
Until 2026-11-28 03:00:00 UTC; after that nobody is waited for.
> understudy run approve r1
> understudy run reject r1
> understudy run cancel r1`)
	if r, topic, ok := Asked(c.Event.Key); !ok || r != "r1" || topic != q.Topic {
		t.Errorf("%q is about %s %s", c.Event.Key, r, topic)
	}
	q.Answered, q.Answer, q.By = at, "approve", "kim"
	if c := Waits(q, run, dr.Group{}); c.Over != "failover of shop waits no longer: approve, by kim" {
		t.Errorf("%+v", c)
	}
	move := store.Run{ID: "r2", Kind: recovery.KindMove, About: "build", State: store.RunWaiting}
	c = Waits(store.Question{Run: "r2", Topic: "confirm", Message: "build runs at west", Answers: []string{recovery.AnswerConfirm}}, move, dr.Group{})
	wellFormed(t, "move", c.Event)
	compare(t, "move", text(c.Event), `
critical  approval: move of build waits for a person
build runs at west
> understudy move confirm r2
> understudy run cancel r2`)
	run.Kind = recovery.KindDrill
	q.Answered = time.Time{}
	if c := Waits(q, run, dr.Group{}); c.Event.Severity != notify.Warning {
		t.Errorf("%+v", c)
	}
}

func TestWanted(t *testing.T) {
	a := store.Approval{ID: "a-1", Verb: access.Failover, Object: access.Object{Group: "shop", Sites: []string{"east", "west"}}, About: "fail over group shop", By: "ann", State: store.ApprovalWanted, Expires: at}
	c := Wanted(a)
	wellFormed(t, "wanted", c.Event)
	compare(t, "wanted", text(c.Event), `
critical  approval: approval wanted: ann wants to fail over group shop
Another person has to approve it, until 2026-11-28 03:00:00 UTC. Then ann asks again, and it is done.
> understudy approval approve a-1
> understudy approval reject a-1`)
	if id, ok := WantedID(c.Event.Key); !ok || id != "a-1" {
		t.Errorf("%q is about %s", c.Event.Key, id)
	}
	other := a
	other.Verb, other.Object = access.ManageAccess, access.Object{}
	wellFormed(t, "wanted of the controller", Wanted(other).Event)
	decided := func(state, by string) store.Approval {
		v := a
		v.State, v.Decided, v.DecidedBy = state, at, by
		return v
	}
	a.State = store.ApprovalExpired
	for want, v := range map[string]store.Approval{
		"nobody answered in time whether ann may fail over group shop": a,
		"kim rejected that ann may fail over group shop":               decided(store.ApprovalRejected, "kim"),
		"ann no longer wants to fail over group shop":                  decided(store.ApprovalRejected, "ann"),
		"kim approved that ann may fail over group shop":               decided(store.ApprovalExpired, "kim"),
	} {
		if c := Wanted(v); c.Over != want {
			t.Errorf("%q, want %q", c.Over, want)
		}
	}
}

func TestOther(t *testing.T) {
	e := DrillMissed(dr.Group{Name: "shop", Site: "east", Target: "west"}, store.DrillSchedule{Window: 4 * time.Hour, Problem: "a failover is under way"}, at, at.Add(5*time.Hour))
	wellFormed(t, "missed", e)
	compare(t, "missed", text(e), `
warning failure drill: the drill of shop due 2026-11-28 03:00:00 UTC did not begin within 4h
It could not: a failover is under way
It is not proven that the group can be recovered now.
> understudy drill run shop`)

	m := store.Monitor{Name: "stack", Site: "hub"}
	m.State.Operations = map[string]site.Operation{"alert/1": {ID: "alert/1", Title: "Update needs attention", Outcome: site.OutcomeAttention}, "run/1": {ID: "run/1", Outcome: site.OutcomeFailed}}
	if list := wrong(Monitor(m)); len(list) != 1 || list[0].Event.Key != "monitor/stack/alert/1" {
		t.Errorf("%+v", list)
	}
	m.State.Alarm, m.State.Problem = true, "timeout"
	for _, c := range wrong(Monitor(m)) {
		wellFormed(t, "monitor", c.Event)
	}

	var open []watch.Problem
	for _, e := range []notify.Event{
		{Key: "lag/shop", Topic: notify.TopicLag, Group: "shop"}, {Key: "drill/shop", Topic: notify.TopicDrill, Group: "shop", Source: "group shop"}, {Key: "lag/old", Topic: notify.TopicLag, Group: "old"},
		{Key: "vault/main", Topic: notify.TopicVault, Vault: "main"}, {Key: "vault/old", Topic: notify.TopicVault, Vault: "old"},
		{Key: "monitor/old", Topic: notify.TopicMonitor, Source: "monitor old"},
	} {
		open = append(open, watch.Problem{Event: e})
	}
	var got []string
	for _, c := range Stale(open, map[string]bool{"shop": true}, map[string]bool{"main": true}, map[string]bool{"stack": true}) {
		got = append(got, c.Event.Key+": "+c.Over)
	}
	if want := "drill/shop: \nlag/old: group old is no longer protected\nvault/old: vault old was removed\nmonitor/old: monitor old was removed"; strings.Join(got, "\n") != want {
		t.Errorf("stale:\n%s\nwant:\n%s", strings.Join(got, "\n"), want)
	}
}
