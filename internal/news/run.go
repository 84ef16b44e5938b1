// Package news says what happened in the words of the person who is woken by it: what is wrong, what would be lost, and
// the command that helps. It is told facts and returns events; it decides nothing else and asks nobody.
package news

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/notify"
	"understudy/internal/recovery"
	"understudy/internal/store"
)

// Keys of problems. Each has one source of truth that says whether it lasts.
func failoverKey(group string) string    { return "failover/" + group }
func drillKey(group string) string       { return "drill/" + group }
func overdueKey(group string) string     { return "drill-overdue/" + group }
func lagKey(group string) string         { return "lag/" + group }
func unprotectedKey(group string) string { return "unprotected/" + group }
func replicationKey(group string) string { return "replication/" + group }
func splitBrainKey(group string) string  { return "split-brain/" + group }
func vaultKey(vault string) string       { return "vault/" + vault }
func corruptKey(vault string) string     { return "vault-corrupt/" + vault }

// failed reports whether a group stands where something went wrong that a person has to bring to an end.
func failed(s dr.State) bool {
	switch s {
	case dr.StateFailoverFailed, dr.StatePlannedFailoverFailed, dr.StateReprotectFailed, dr.StateResolveFailed, dr.StateEnablingFailed, dr.StateSeedingFailed:
		return true
	}
	return false
}

// mending reports whether a run may be about to end what went wrong.
func mending(s dr.State) bool {
	switch s {
	case dr.StateFailover, dr.StatePlannedFailover, dr.StateReprotecting, dr.StateResolving, dr.StateEnabling, dr.StateSeeding:
		return true
	}
	return false
}

// span is a duration for people: no finer than it matters.
func span(d time.Duration) string {
	switch {
	case d >= 24*time.Hour:
		d = d.Truncate(time.Hour)
	case d >= time.Hour:
		d = d.Truncate(time.Minute)
	case d >= time.Second:
		d = d.Truncate(time.Second)
	default:
		d = d.Truncate(100 * time.Millisecond)
	}
	return dr.FormatDuration(d)
}

func seconds(s recovery.Seconds) string {
	return span(time.Duration(float64(s) * float64(time.Second)))
}

func instant(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

func groupEvent(g string, topic notify.Topic, severity notify.Severity, sites ...string) notify.Event {
	e := notify.Event{Source: "group " + g, Topic: topic, Severity: severity, Group: g, Link: "/groups/" + g}
	for _, s := range sites {
		if s != "" && !slices.Contains(e.Sites, s) {
			e.Sites = append(e.Sites, s)
		}
	}
	return e
}

// commands are those among texts that are commands, each once.
func commands(list ...string) []string {
	var out []string
	for _, c := range list {
		if strings.HasPrefix(c, "understudy ") && !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

// ended is what is known of a run that has ended.
type ended struct {
	store.Run
	in   recovery.Input
	res  recovery.Result
	prot store.Protection
}

// RunEnded says how a run ended, of those that people wait for; prot is where that leaves its group. It is called in the
// transaction that records the end.
func RunEnded(run store.Run, prot store.Protection) []notify.Event {
	r := ended{Run: run, prot: prot}
	// What cannot be read is left out: the end is told all the same.
	_ = json.Unmarshal(run.Input, &r.in)
	_ = json.Unmarshal(run.Result, &r.res)
	e := groupEvent(run.Group, notify.TopicFailover, notify.Info, r.in.Source, r.in.Target)
	e.ID, e.Time, e.Run, e.Vault, e.Link = "run-"+run.ID, run.Ended, run.ID, r.in.Vault, "/runs/"+run.ID
	e.Kind = notify.Success
	if run.State == store.RunFailed {
		e.Kind, e.Severity = notify.Failure, notify.Warning
	}
	if run.State == store.RunCancelled {
		e.Kind = notify.Information
	}
	switch run.Kind {
	case recovery.KindResolve:
		if run.State == store.RunSucceeded {
			return r.about(e, splitBrainKey(run.Group)) // it ends that; a failed state is seen to be over
		}
		return r.about(e, failoverKey(run.Group))
	case recovery.KindFailover, recovery.KindPlanned, recovery.KindReprotect:
		return r.about(e, failoverKey(run.Group))
	case recovery.KindCommit, recovery.KindExtensions:
		return r.about(e, "")
	case recovery.KindDrill:
		e.Topic = notify.TopicDrill
		key := drillKey(run.Group)
		if run.State == store.RunCancelled {
			key = ""
		}
		return r.about(e, key)
	case recovery.KindTest:
		e.Topic = notify.TopicTest
		return r.about(e, "")
	case recovery.KindCleanup:
		e.Topic = notify.TopicTest
		if run.State == store.RunSucceeded {
			return nil // whoever asked for it knows, and nobody else needs to
		}
		return r.about(e, "")
	case recovery.KindClone, recovery.KindMove:
		e.Topic, e.Source = notify.TopicCopy, run.Kind+" of "+run.About
		return r.about(e, "")
	}
	return nil
}

// about writes the texts of an end.
func (r ended) about(e notify.Event, key string) []notify.Event {
	what := r.title()
	lasting := key == failoverKey(r.Group) && failed(r.prot.State)
	if r.State == store.RunSucceeded || lasting || key != "" && key == drillKey(r.Group) {
		e.Key = key
	}
	if lasting && r.State != store.RunSucceeded {
		e.Kind, e.Severity = notify.Failure, notify.Critical // also of one that was cancelled half way
	}
	switch r.State {
	case store.RunSucceeded:
		r.succeeded(&e)
	case store.RunCancelled:
		e.Subject = what + " was cancelled"
	default:
		e.Subject = what + " failed"
	}
	if r.State != store.RunSucceeded {
		var lines []string
		if r.Error != "" && r.State == store.RunFailed {
			lines = append(lines, r.Error)
		}
		e.Text = strings.Join(append(lines, r.left()...), "\n")
		if r.Kind == recovery.KindFailover && r.State == store.RunFailed {
			e.Severity = notify.Critical // somebody needs it now
		}
		e.Next = commands(r.Hint, "understudy run show "+r.ID)
		if lasting {
			e.Next = commands(append(e.Next, "understudy status "+r.Group)...)
		}
	}
	return []notify.Event{e}
}

// title names the run.
func (r ended) title() string {
	to, of := "", cmp.Or(r.Group, r.About, r.ID)
	if r.in.Target != "" {
		to = " to " + r.in.Target
	}
	switch r.Kind {
	case recovery.KindFailover:
		return "the failover of " + of + to
	case recovery.KindPlanned:
		return "the planned failover of " + of + to
	case recovery.KindCommit:
		return "the commit of " + of
	case recovery.KindReprotect:
		return "the reprotection of " + of
	case recovery.KindResolve:
		return "the end of the split brain of " + of
	case recovery.KindDrill:
		return "the drill of " + of
	case recovery.KindTest:
		return "the test failover of " + of
	case recovery.KindCleanup:
		return "the clean-up of the test of " + of
	case recovery.KindExtensions:
		return "the restore of the extensions of " + of
	}
	return "the " + r.Kind + " of " + of
}

// succeeded writes the texts of a run that did what was asked for.
func (r ended) succeeded(e *notify.Event) {
	from := ""
	if !r.res.PointTime.IsZero() {
		from = fmt.Sprintf(" from the recovery point of %s (%s)", instant(r.res.PointTime), r.res.Point)
	}
	up := ""
	if r.res.RTO > 0 {
		up = ", up after " + seconds(r.res.RTO)
	}
	switch r.Kind {
	case recovery.KindFailover, recovery.KindPlanned:
		e.Severity = notify.Warning // its site has changed, and nothing protects it for now
		e.Subject = fmt.Sprintf("%s runs at %s now%s", r.Group, r.in.Target, up)
		e.Text = fmt.Sprintf("It was failed over from %s%s. Nothing protects it there until it is committed and reprotected.", r.in.Source, from)
		if r.res.RPO > 0 {
			e.Loss = "the last " + seconds(r.res.RPO)
			e.Subject += ", the last " + seconds(r.res.RPO) + " are lost"
		}
		for _, s := range r.res.Source {
			if !s.Held {
				e.Severity = notify.Critical
				e.Text += fmt.Sprintf("\n%s could not be held at %s (%s): when that site is back, it may run twice.", s.Name, r.in.Source, cmp.Or(s.Error, "the site did not answer"))
			}
		}
		e.Next = commands("understudy status "+r.Group, "understudy commit "+r.Group, "understudy reprotect "+r.Group)
	case recovery.KindCommit:
		e.Subject = "the failover of " + r.Group + " is committed"
		e.Text = "Nothing protects it until it is reprotected."
		e.Next = commands("understudy reprotect " + r.Group)
	case recovery.KindReprotect:
		e.Subject = r.Group + " is protected again"
		e.Text = "Recovery points are made where it runs now."
	case recovery.KindResolve:
		e.Subject = "the split brain of " + r.Group + " is over"
		e.Next = commands("understudy status " + r.Group)
	case recovery.KindDrill:
		e.Subject = fmt.Sprintf("the drill of %s passed%s", r.Group, up)
		e.Text = fmt.Sprintf("It came up at %s%s, and nothing of the drill is left.", r.in.Target, from)
		e.Next = commands("understudy drill report " + r.ID)
	case recovery.KindTest:
		e.Subject = fmt.Sprintf("%s runs as a test at %s%s", r.Group, r.in.Target, up)
		e.Text = "Production goes on. The test stays until it is cleaned up; only then it counts as a proof."
		e.Next = commands("understudy cleanup " + r.Group)
	case recovery.KindExtensions:
		e.Subject = "the extensions of " + r.Group + " are restored"
	default:
		e.Subject = r.title() + " is done"
		e.Next = commands("understudy run show " + r.ID)
	}
}

// left says how things stand after a run that did not do what was asked for.
func (r ended) left() []string {
	switch {
	case r.Kind == recovery.KindPlanned && r.res.Restored:
		return []string{fmt.Sprintf("Production goes on at %s.", r.in.Source)}
	case r.Kind == recovery.KindDrill && r.res.Drill != nil && r.res.Drill.Kept:
		return []string{fmt.Sprintf("Its machines were left at %s to be looked at. Production is not concerned.", r.in.Target)}
	case r.Kind == recovery.KindDrill, r.Kind == recovery.KindTest, r.Kind == recovery.KindCleanup:
		return []string{"Production is not concerned. But it is not proven that the group can be recovered."}
	case r.prot.State == dr.StateFailedOver && r.prot.Run == r.ID:
		return []string{fmt.Sprintf("%s runs at %s all the same: what failed came after that.", r.Group, r.in.Target)}
	case r.prot.State == dr.StateFailoverFailed:
		return []string{fmt.Sprintf("%s does not own the group any more, and %s did not bring it up: it may run nowhere.", r.in.Source, r.in.Target)}
	case r.prot.State == dr.StatePlannedFailoverFailed:
		return []string{fmt.Sprintf("The machines at %s may be stopped.", r.in.Source)}
	case r.prot.State == dr.StateResolveFailed:
		return []string{"It is not settled which site the group runs at."}
	case r.prot.State == dr.StateReprotectFailed:
		return []string{"The group runs, and nothing protects it."}
	}
	return nil
}
