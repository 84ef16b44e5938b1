package news

import (
	"fmt"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/notify"
	"understudy/internal/recovery"
	"understudy/internal/store"
	"understudy/internal/watch"
)

// How long things must last before they are told.
const (
	lagLasts         = time.Minute      // more than is allowed would be lost
	pausedLasts      = 15 * time.Minute // the same while a person has paused replication
	replicationLasts = time.Minute      // cycles fail
	unprotectedLasts = time.Hour        // since a failover: whoever failed over goes on soon
	stateLasts       = 30 * time.Second // a failed state, which the run that failed tells of by itself
	vaultLasts       = 2 * time.Minute  // looks at a vault fail
)

// A Group is what is known of a group now.
type Group struct {
	Group      dr.Group
	Protection store.Protection
	Busy       bool // a run of it is under way
	Unknown    bool // what follows could not be found out

	RPO         time.Duration // the objective
	Recoverable bool
	Lose        time.Duration // what would be lost now
	RPOMet      bool
	Unprotected bool // it runs at its new site since a failover, where nothing protects it
	Paused      bool // by a person

	Replicates bool // cycles are due
	Failures   int  // of cycles, in a row
	Fenced     bool // another site owns it
	Error      string
	ErrorKind  dr.Kind
	Hint       string

	Fences   []store.Fence // of machines that came back at a former site
	Schedule *store.DrillSchedule
}

// Conditions are what may be wrong with a group.
func (g Group) Conditions() []watch.Condition {
	list := []watch.Condition{g.splitBrain(), g.failed()}
	list = append(list, g.lag()...)
	return append(append(list, g.replication()...), g.overdue()...)
}

func (g Group) event(topic notify.Topic, severity notify.Severity, key string) notify.Event {
	e := groupEvent(g.Group.Name, topic, severity, g.Group.Site, g.Group.Target)
	e.Key, e.Vault = key, g.Group.Vault
	return e
}

func unknown(key string) watch.Condition {
	return watch.Condition{Event: notify.Event{Key: key}, Unknown: true}
}

func over(key, why string) watch.Condition {
	return watch.Condition{Event: notify.Event{Key: key}, Over: why}
}

func (g Group) splitBrain() watch.Condition {
	name := g.Group.Name
	if len(g.Fences) == 0 && !g.Protection.SplitBrain {
		return over(splitBrainKey(name), "the split brain of "+name+" is over")
	}
	e := g.event(notify.TopicSplitBrain, notify.Critical, splitBrainKey(name))
	var lines []string
	held := true
	former := ""
	for _, f := range g.Fences {
		former = f.Site
		line := fmt.Sprintf("%s came back at %s at %s", f.Machine, f.Site, instant(f.SplitBrain))
		if f.Error != "" {
			held = false
			line += ", and could not be stopped: " + f.Error
		} else {
			line += "; it was stopped and is held."
		}
		lines = append(lines, line)
	}
	e.Subject = "split brain of " + name + ": machines came back at its former site"
	if former != "" {
		e.Subject = fmt.Sprintf("split brain of %s: machines came back at %s", name, former)
	}
	if !held {
		e.Subject += ", and may be running twice"
	}
	e.Text = strings.Join(append(lines, fmt.Sprintf("It runs at %s. Nothing was overwritten. What its former site wrote since the failover is in no recovery point.", g.Group.Site)), "\n")
	e.Next = []string{"understudy run split-brain --group " + name, fmt.Sprintf("understudy resolve %s --keep %s", name, g.Group.Site)}
	if former != "" {
		e.Next = append(e.Next, fmt.Sprintf("understudy resolve %s --keep %s", name, former))
	}
	return watch.Condition{Event: e, End: "the split brain of " + name + " is over"}
}

func (g Group) failed() watch.Condition {
	name, key := g.Group.Name, failoverKey(g.Group.Name)
	switch s := g.Protection.State; {
	case mending(s), g.Busy:
		return unknown(key)
	case !failed(s):
		return over(key, fmt.Sprintf("%s is %s now", name, s))
	}
	e := g.event(notify.TopicFailover, notify.Critical, key)
	e.Run = g.Protection.Run
	if g.Protection.State == dr.StateReprotectFailed || g.Protection.State == dr.StateResolveFailed {
		e.Run = g.Protection.LaterRun
	}
	e.Subject = fmt.Sprintf("%s is in state %s", name, g.Protection.State)
	r := ended{Run: store.Run{Group: name}, prot: g.Protection, in: recovery.Input{Source: g.Group.Site, Target: g.Group.Target}}
	e.Text = strings.Join(r.left(), "\n")
	e.Next = []string{"understudy status " + name}
	if e.Run != "" {
		e.Next = append(e.Next, "understudy run show "+e.Run)
	}
	return watch.Condition{Event: e, For: stateLasts, End: name + " is well again"}
}

func (g Group) lag() []watch.Condition {
	name, key, bare := g.Group.Name, lagKey(g.Group.Name), unprotectedKey(g.Group.Name)
	switch {
	case g.Unknown, mending(g.Protection.State), failed(g.Protection.State):
		return []watch.Condition{unknown(key), unknown(bare)} // that is told by itself
	case g.Unprotected:
		e := g.event(notify.TopicLag, notify.Warning, bare)
		e.Loss = span(g.Lose)
		e.Subject = fmt.Sprintf("%s runs at %s without protection since its failover: %s would be lost", name, g.Group.Site, span(g.Lose))
		e.Text = "Nothing copies what it writes until it is committed and reprotected."
		e.Next = commands("understudy commit "+name, "understudy reprotect "+name)
		return []watch.Condition{over(key, name+" was failed over"), {Event: e, For: unprotectedLasts, End: name + " is protected again"}}
	case !g.Recoverable, g.RPOMet:
		return []watch.Condition{over(bare, name+" is protected again")}
	}
	e := g.event(notify.TopicLag, notify.Warning, key)
	e.Loss = span(g.Lose)
	e.Subject = fmt.Sprintf("%s: a failover now would lose %s, the target is %s", name, span(g.Lose), dr.FormatDuration(g.RPO))
	e.Next = commands("understudy status " + name)
	c := watch.Condition{For: lagLasts, End: fmt.Sprintf("%s is within its target of %s again", name, dr.FormatDuration(g.RPO))}
	switch {
	case g.Paused:
		c.For = pausedLasts
		e.Text = "Replication was paused by a person."
		e.Next = commands("understudy resume " + name)
	case g.Failures > 0:
		e.Text = fmt.Sprintf("The last %d cycles failed: %s", g.Failures, g.Error)
		e.Next = commands(g.Hint, "understudy status "+name)
	default:
		e.Text = "Cycles take longer than the target allows, or wait for others: the source or the way to the vault is too slow."
	}
	if g.Lose > time.Hour && g.Lose > 10*g.RPO {
		e.Severity = notify.Critical
	}
	c.Event = e
	return []watch.Condition{c, over(bare, name+" is protected again")}
}

func (g Group) replication() []watch.Condition {
	name, key := g.Group.Name, replicationKey(g.Group.Name)
	switch {
	case g.Unprotected:
		return []watch.Condition{over(key, name+" was failed over")}
	case g.Unknown, !g.Replicates:
		return []watch.Condition{unknown(key)}
	case g.Failures == 0:
		return nil
	}
	e := g.event(notify.TopicReplication, notify.Warning, key)
	e.Subject = fmt.Sprintf("replication of %s fails", name)
	if g.Fenced {
		e.Severity = notify.Critical
		e.Subject = fmt.Sprintf("replication of %s is refused: another site owns it", name)
	}
	e.Text = fmt.Sprintf("%d cycles in a row: %s", g.Failures, g.Error)
	if g.Recoverable {
		e.Loss = span(g.Lose)
	} else {
		e.Text += "\nThere is no recovery point yet: nothing can be recovered."
	}
	e.Next = commands(g.Hint, "understudy status "+name)
	return []watch.Condition{{Event: e, For: replicationLasts, End: "replication of " + name + " works again"}}
}

// overdue is a drill that is overdue since the proof that its reminder was about is still the newest.
func (g Group) overdue() []watch.Condition {
	name, key := g.Group.Name, overdueKey(g.Group.Name)
	s := g.Schedule
	if s == nil {
		return []watch.Condition{over(key, "drills of "+name+" are no longer due")}
	}
	if s.Reminded.IsZero() || g.Protection.ProvenAt.After(s.Reminded) {
		return []watch.Condition{over(key, name+" is proven again")}
	}
	e := g.event(notify.TopicDrill, notify.Warning, key)
	e.Subject = fmt.Sprintf("the drill of %s is overdue: it was last proven to boot at %s", name, instant(s.Reminded))
	if g.Protection.ProvenAt.IsZero() {
		e.Subject = fmt.Sprintf("the drill of %s is overdue: it was never proven to boot", name)
	}
	if s.Problem != "" {
		e.Text = "The last one could not begin: " + s.Problem
	}
	e.Next = commands(s.Hint, "understudy drill run "+name)
	return []watch.Condition{{Event: e, End: name + " is proven again"}}
}
