package drill

import (
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // zones are known also where the system has no list of them

	cron "github.com/netresearch/go-cron"

	"understudy/internal/dr"
	"understudy/internal/store"
)

// DefaultWindow is how late a drill may begin that could not begin on time.
const DefaultWindow = 4 * time.Hour

// A Timetable tells when drills are due: a cron expression in a time zone. A time that the change to summer time skips
// is due right after the change; one that the change back repeats is due the first time only.
type Timetable struct {
	schedule cron.Schedule
	zone     *time.Location
}

const cronHint = `write minute, hour, day of month, month and day of week, such as "0 3 * * 1" for Mondays at 03:00, or @daily, @weekly, @monthly`

// ParseTimetable reads a cron expression of five fields (or @daily and the like) and a time zone of the IANA database;
// an empty one is UTC. Errors are dr.KindInvalid.
func ParseTimetable(expression, zone string) (Timetable, error) {
	loc, err := time.LoadLocation(zone)
	if err != nil || zone == "Local" {
		return Timetable{}, dr.WithHint(fmt.Errorf("time zone %q is not known", zone), dr.KindInvalid, `write a name such as "Europe/Paris" or "UTC"`)
	}
	expression = strings.TrimSpace(expression)
	if strings.Contains(expression, "TZ=") {
		return Timetable{}, dr.WithHint(fmt.Errorf("schedule %q names a time zone", expression), dr.KindInvalid, "give the time zone by itself: --tz ZONE")
	}
	if strings.HasPrefix(expression, "@every") {
		return Timetable{}, dr.WithHint(fmt.Errorf("schedule %q has no time of day", expression), dr.KindInvalid, cronHint)
	}
	parser, err := cron.TryNewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)
	if err != nil {
		return Timetable{}, fmt.Errorf("schedule %q: %w", expression, err)
	}
	s, err := parser.Parse(expression)
	if err != nil {
		return Timetable{}, dr.WithHint(fmt.Errorf("schedule %q: %w", expression, err), dr.KindInvalid, cronHint)
	}
	t := Timetable{s, loc}
	if t.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return Timetable{}, dr.WithHint(fmt.Errorf("schedule %q never comes", expression), dr.KindInvalid, cronHint)
	}
	return t, nil
}

// Next is the first due time after now, in UTC; zero when there is none.
//
// The parser's own handling of time zones passes over a day whose midnight is skipped and begins twice what is due in a
// repeated hour, so it is asked about wall clocks only, and these are made instants here.
func (t Timetable) Next(now time.Time) time.Time {
	for wall := t.schedule.Next(wallClock(now.In(t.zone))); !wall.IsZero(); wall = t.schedule.Next(wall) {
		if at := t.instant(wall); at.After(now) {
			return at
		}
	}
	return time.Time{}
}

// wallClock is what a clock on the wall shows, as a time without a zone (in UTC).
func wallClock(local time.Time) time.Time {
	_, offset := local.Zone()
	return local.UTC().Add(time.Duration(offset) * time.Second)
}

// instant is when clocks in the zone first show a time. One that is skipped is the end of the gap.
func (t Timetable) instant(wall time.Time) time.Time {
	offset := func(at time.Time) time.Duration {
		_, seconds := at.In(t.zone).Zone()
		return time.Duration(seconds) * time.Second
	}
	// Whatever the zone, the instant lies between these, and so does at most one change of the clock.
	before, after := offset(wall.Add(-15*time.Hour)), offset(wall.Add(13*time.Hour))
	for _, o := range []time.Duration{max(before, after), min(before, after)} {
		if at := wall.Add(-o); offset(at) == o {
			return at
		}
	}
	_, end := wall.Add(-max(before, after)).In(t.zone).ZoneBounds()
	return end.UTC()
}

// LongestGap is the longest time between drills that are due in turn, of the next sixty.
func (t Timetable) LongestGap(now time.Time) time.Duration {
	var longest time.Duration
	at := t.Next(now)
	for range 60 {
		next := t.Next(at)
		if next.IsZero() {
			break
		}
		longest = max(longest, next.Sub(at))
		at = next
	}
	return longest
}

// Turn is what is to be done about a schedule now.
type Turn string

// Turns.
const (
	Wait Turn = "wait"
	Run  Turn = "run"  // the drill due at Decision.Due
	Miss Turn = "miss" // the drill due at Decision.Due did not begin and is too late by now
	Mend Turn = "mend" // the recorded next time is wrong: the clock went back
)

// A Decision is a Turn, the due time that it is about, and when the next drill is due once that is recorded.
type Decision struct {
	Turn Turn
	Due  time.Time
	Next time.Time
}

// Decide tells what is to be done about a schedule now. Of several drills that were missed, while no controller ran or
// the group could not be rehearsed, the newest begins late, once, when it is within the schedule's window; there is
// never a burst. A drill that was begun is not begun again when the clock goes back.
func (t Timetable) Decide(s store.DrillSchedule, now time.Time) Decision {
	after := now
	// Only a clock that went back has a drill behind it that is due after now. One that was far ahead is not believed.
	if s.LastDue.After(now) && s.LastDue.Sub(now) <= 25*time.Hour {
		after = s.LastDue
	}
	next := t.Next(after)
	switch {
	case s.Next.IsZero() || s.Next.After(next):
		return Decision{Turn: Mend, Next: next}
	case s.Next.After(now):
		return Decision{Turn: Wait, Due: s.Next, Next: s.Next}
	}
	due := s.Next
	if now.Sub(due) > s.Window {
		// The newest that may still begin, if there is one.
		if late := t.Next(now.Add(-s.Window - time.Second)); !late.IsZero() && !late.After(now) {
			due = late
		} else {
			return Decision{Turn: Miss, Due: due, Next: next}
		}
	}
	for at := t.Next(due); !at.IsZero() && !at.After(now); at = t.Next(at) {
		due = at
	}
	return Decision{Turn: Run, Due: due, Next: next}
}

// Limit is the age of the last proof beyond which a group's drill is overdue.
func (t Timetable) Limit(s store.DrillSchedule, now time.Time) time.Duration {
	if s.OverdueAfter > 0 {
		return s.OverdueAfter
	}
	return t.LongestGap(now) + s.Window
}
