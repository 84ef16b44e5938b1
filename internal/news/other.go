package news

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"understudy/internal/access"
	"understudy/internal/dr"
	"understudy/internal/monitor"
	"understudy/internal/notify"
	"understudy/internal/recovery"
	"understudy/internal/site"
	"understudy/internal/store"
	"understudy/internal/watch"
)

// DrillMissed says that a drill did not begin while its window lasted.
func DrillMissed(g dr.Group, s store.DrillSchedule, due, now time.Time) notify.Event {
	e := groupEvent(g.Name, notify.TopicDrill, notify.Warning, g.Site, g.Target)
	e.ID, e.Time, e.Kind = fmt.Sprintf("drill-missed-%s-%d", g.Name, due.Unix()), now.UTC(), notify.Failure
	e.Subject = fmt.Sprintf("the drill of %s due %s did not begin within %s", g.Name, instant(due), dr.FormatDuration(s.Window))
	e.Text = "It is not proven that the group can be recovered now."
	if s.Problem != "" {
		e.Text = "It could not: " + s.Problem + "\n" + e.Text
	}
	e.Next = commands(s.Hint, "understudy drill run "+g.Name)
	return e
}

// Waits is a run that waits for a person.
func Waits(q store.Question, run store.Run, g dr.Group) watch.Condition {
	key := approvalKey(q)
	if !q.Answered.IsZero() || run.State.Ended() {
		why := fmt.Sprintf("%s waits no longer", strings.TrimPrefix(ended{Run: run}.title(), "the "))
		if !q.Answered.IsZero() {
			why += ": " + q.Reply()
		}
		return over(key, why)
	}
	r := ended{Run: run}
	e := groupEvent(run.Group, notify.TopicApproval, notify.Critical, g.Site, g.Target)
	if run.Group == "" {
		e.Source = run.Kind + " of " + run.About
	}
	if run.Kind == recovery.KindDrill || run.Kind == recovery.KindTest {
		e.Severity = notify.Warning
	}
	e.Key, e.Run, e.Link = key, run.ID, "/runs/"+run.ID
	e.Subject = strings.TrimPrefix(r.title(), "the ") + " waits for a person"
	e.Text = q.Message
	if !q.Until.IsZero() {
		e.Text += "\nUntil " + instant(q.Until) + "; after that nobody is waited for."
	}
	e.Next = q.Commands()
	return watch.Condition{Event: e, End: strings.TrimPrefix(r.title(), "the ") + " waits no longer"}
}

const approvalPrefix = "approval/"

func approvalKey(q store.Question) string { return approvalPrefix + q.Run + "/" + q.Topic }

// Asked returns the run and the topic of the question that a problem is about.
func Asked(key string) (run, topic string, ok bool) {
	rest, ok := strings.CutPrefix(key, approvalPrefix)
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, "/")
}

const wantedPrefix = "four-eyes/"

// Wanted is what one person asked for and another has to approve.
func Wanted(a store.Approval) watch.Condition {
	key := wantedPrefix + a.ID
	switch {
	case a.State == store.ApprovalWanted:
	case a.Decided.IsZero():
		return over(key, fmt.Sprintf("nobody answered in time whether %s may %s", a.By, a.About))
	case a.State == store.ApprovalRejected && a.DecidedBy == a.By:
		return over(key, fmt.Sprintf("%s no longer wants to %s", a.By, a.About))
	case a.State == store.ApprovalRejected:
		return over(key, fmt.Sprintf("%s rejected that %s may %s", a.DecidedBy, a.By, a.About))
	default:
		return over(key, fmt.Sprintf("%s approved that %s may %s", a.DecidedBy, a.By, a.About))
	}
	e := notify.Event{Source: "approval " + a.ID, Topic: notify.TopicApproval, Severity: notify.Warning, Link: "/settings?tab=approvals", Sites: a.Object.Sites}
	if a.Object.Group != "" {
		e.Source, e.Group = "group "+a.Object.Group, a.Object.Group
	}
	if a.Verb == access.Failover {
		e.Severity = notify.Critical // somebody waits to act
	}
	e.Key = key
	e.Subject = fmt.Sprintf("approval wanted: %s wants to %s", a.By, a.About)
	e.Text = "Another person has to approve it, until " + instant(a.Expires) + ". Then " + a.By + " asks again, and it is done."
	e.Next = commands("understudy approval approve "+a.ID, "understudy approval reject "+a.ID)
	return watch.Condition{Event: e, End: "approval " + a.ID + " is no longer wanted"}
}

// WantedID returns the ID of the approval that a problem is about.
func WantedID(key string) (id string, ok bool) { return strings.CutPrefix(key, wantedPrefix) }

// A Vault is what the last look at a vault found.
type Vault struct {
	Name   string
	Looked bool
	Err    error    // of the look
	Groups []string // that replicate into it
	Broken []Group  // of which cycles found damage
}

// Conditions are what may be wrong with a vault.
func (v Vault) Conditions() []watch.Condition {
	if !v.Looked {
		return []watch.Condition{unknown(vaultKey(v.Name)), v.damage(nil)}
	}
	if dr.KindOf(v.Err) == dr.KindCorrupt {
		return []watch.Condition{unknown(vaultKey(v.Name)), v.damage(v.Err)}
	}
	list := []watch.Condition{v.damage(nil)}
	if v.Err == nil {
		return list
	}
	e := v.event(vaultKey(v.Name))
	e.Subject = "vault " + v.Name + " cannot be reached"
	e.Text = v.Err.Error()
	if len(v.Groups) > 0 {
		e.Text += "\nNo recovery points are made of " + strings.Join(v.Groups, ", ") + ", and none of them can be recovered from it meanwhile."
	} else {
		e.Severity = notify.Warning
	}
	e.Next = commands(dr.Hint(v.Err), "understudy vault list")
	return append(list, watch.Condition{Event: e, For: vaultLasts, End: "vault " + v.Name + " can be reached again"})
}

func (v Vault) event(key string) notify.Event {
	return notify.Event{Source: "vault " + v.Name, Topic: notify.TopicVault, Severity: notify.Critical, Key: key, Vault: v.Name, Link: "/vaults/" + v.Name}
}

// damage is what is wrong with what the vault holds.
func (v Vault) damage(err error) watch.Condition {
	e := v.event(corruptKey(v.Name))
	var lines []string
	if err != nil {
		lines = append(lines, err.Error())
	}
	e.Next = commands("understudy vault verify --vault " + v.Name)
	for _, g := range v.Broken {
		lines = append(lines, g.Group.Name+": "+g.Error)
		e.Next = commands(append(e.Next, g.Hint)...)
	}
	switch {
	case len(lines) > 0:
	case !v.Looked || v.Err != nil:
		return unknown(corruptKey(v.Name))
	default:
		return over(corruptKey(v.Name), "no damage is found in vault "+v.Name+" any more")
	}
	e.Subject = "vault " + v.Name + " is damaged"
	if err == nil {
		e.Subject = fmt.Sprintf("damaged data was found on the way of %s into vault %s", v.Broken[0].Group.Name, v.Name)
	}
	e.Text = strings.Join(append(lines, "Recovery points may be damaged, too. Delete nothing before you know which."), "\n")
	return watch.Condition{Event: e, End: "no damage is found in vault " + v.Name + " any more"}
}

// Monitor are what a monitor told of and knows to last.
func Monitor(m store.Monitor) []watch.Condition {
	var list []watch.Condition
	add := func(operation, subject, text, end string) {
		list = append(list, watch.Condition{End: end, Event: notify.Event{Source: "monitor " + m.Name, Topic: notify.TopicMonitor, Severity: notify.Warning, Key: monitor.Key(m.Name, operation),
			Sites: []string{m.Site}, Subject: subject, Text: text, Next: []string{"understudy monitor show " + m.Name}, Link: "/monitors/" + m.Name}})
	}
	if m.State.Alarm {
		add("", m.Name+" does not answer", m.State.Problem, m.Name+" answers again")
	} else {
		list = append(list, over(monitor.Key(m.Name, ""), m.Name+" answers again"))
	}
	for _, o := range m.State.Operations {
		if o.Outcome == site.OutcomeAttention {
			add(o.ID, o.Title, o.Message, o.Title+": over")
		}
	}
	slices.SortFunc(list, func(a, b watch.Condition) int { return strings.Compare(a.Event.Key, b.Event.Key) })
	return list
}

// Stale ends the open problems that nothing can be wrong with any more: what they are about is gone. Those of drills
// stay until a drill passes, which is told by itself.
func Stale(open []watch.Problem, groups, vaults, monitors map[string]bool) []watch.Condition {
	var list []watch.Condition
	for _, p := range open {
		e := p.Event
		switch {
		case e.Group != "" && !groups[e.Group]:
			list = append(list, over(e.Key, "group "+e.Group+" is no longer protected"))
		case e.Topic == notify.TopicVault && !vaults[e.Vault]:
			list = append(list, over(e.Key, "vault "+e.Vault+" was removed"))
		case e.Topic == notify.TopicMonitor && !monitors[strings.TrimPrefix(e.Source, "monitor ")]:
			list = append(list, over(e.Key, e.Source+" was removed"))
		case e.Key == drillKey(e.Group):
			e.ID, e.Kind = "", notify.Problem
			list = append(list, watch.Condition{Event: e, End: e.Source + ": it is over"})
		}
	}
	return list
}
