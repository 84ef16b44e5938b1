package dr

import (
	"fmt"
	"strings"
)

// means says what a state is, for people.
func (s State) means() string {
	switch s {
	case StateDisabled:
		return "not protected"
	case StateEnabling:
		return "site, vault and policy are being prepared"
	case StateEnablingFailed:
		return "that failed"
	case StateSeeding:
		return "the first full copy is under way; nothing to fail over to yet"
	case StateSeedingPaused:
		return "a person paused it"
	case StateSeedingFailed:
		return "that failed"
	case StateProtected:
		return "recovery points are being made"
	case StatePaused:
		return "recovery points exist, none are being made"
	case StatePlannedFailover:
		return "the source is being stopped and sent a last time; whatever fails gives production back to it"
	case StatePlannedFailoverFailed:
		return "production could not be given back by itself"
	case StateFailover:
		return "the epoch is raised: the source can add nothing any more"
	case StateFailoverFailed:
		return "the group may run nowhere"
	case StateFailedOver:
		return "runs at the target; another recovery point may still be chosen"
	case StateCommitted:
		return "the target is the owner for good; nothing protects it yet"
	case StateReprotecting:
		return "recovery points begin at the new site, and the machines left behind are brought up to date"
	case StateReprotectFailed:
		return "recovery points may be made already; the way back is not prepared"
	case StateResolving:
		return "a split brain is being ended: one side is held, the other started"
	case StateResolveFailed:
		return "that failed; either site can still be kept"
	}
	return ""
}

// LifeCycle is the tables of protection and of test failovers as a Markdown page.
func LifeCycle() string {
	var b strings.Builder
	b.WriteString(`# The life cycle of a group

This page is printed from the code (` + "`internal/dr`" + `): ` + "`go test ./internal/dr -run LifeCycle -update`" + `. What is not in a table is refused, and
the refusal says the state, what is allowed, and the command that gets there.

## Protection

| state | | operation | command | next |
|---|---|---|---|---|
`)
	for _, s := range States() {
		name, means := string(s), s.means()
		for _, t := range Transitions() {
			if t.From != s {
				continue
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", name, means, t.Op, code(t.Op.Command()), t.To)
			name, means = "", ""
		}
	}
	b.WriteString(`
Operations without a command happen by themselves. ` + "`finish`" + ` and ` + "`fail`" + ` are the ends of what is under way. While a run is under way nothing
else is begun; ` + "`understudy run cancel RUN`" + ` ends it where that is possible.

**Failback** is ` + "`reprotect`" + `, then a failover to the site where the group was first protected: ` + "`understudy failback GROUP`" + `.

## Split brain

A former owner's machine that is seen running after a failover is stopped, held, and recorded beside the state (` + "`source-returned`" + `). From
then on ` + "`planned-failover`" + `, ` + "`reprotect`" + `, ` + "`disable`" + ` and a ` + "`failover`" + ` that would go there are refused until ` + "`understudy split-brain resolve`" + ` says
which site is kept: the owner (` + "`keep-owner`" + `: what the other did alone is given up; its machines stay held) or the former one (` + "`keep-former`" + `: the
machines that run now are stopped and held, the epoch is raised again, and the former site's go on with what they have).

## Test failover

Beside protection, and without disturbing it. It begins while the group is protected or paused; planned failover, reprotect and disable wait
for its clean-up, an unplanned failover does not.

| state | operation | command | next |
|---|---|---|---|
`)
	last := TestState("")
	for _, t := range TestTransitions() {
		name := string(t.From)
		if t.From == last {
			name = ""
		}
		last = t.From
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", name, t.Op, code(t.Op.Command()), t.To)
	}
	return b.String()
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}
