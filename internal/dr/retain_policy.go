package dr

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of a policy.
const (
	MinRPO    = time.Second
	maxPeriod = 100 * 365 * 24 * time.Hour
	maxFreeze = time.Minute
)

// DefaultPolicy is the policy of a group for which none was chosen: a point a minute, all of them kept for an hour and
// ever fewer for a month.
func DefaultPolicy() Policy {
	const day = 24 * time.Hour
	return Policy{
		Name: "default",
		RPO:  time.Minute,
		Keep: []Tier{{0, time.Hour}, {5 * time.Minute, day}, {time.Hour, 7 * day}, {day, 30 * day}},
	}
}

// Validate returns an error of KindInvalid that names everything that is wrong with the policy.
func (p Policy) Validate() error {
	var bad []error
	if p.Name == "" {
		bad = append(bad, errors.New("it has no name"))
	}
	if p.RPO < MinRPO || p.RPO > 24*time.Hour {
		bad = append(bad, fmt.Errorf("rpo %s is not between %s and 1d", FormatDuration(p.RPO), FormatDuration(MinRPO)))
	}
	if p.AppEvery != 0 && (p.AppEvery < p.RPO || p.AppEvery > 30*24*time.Hour) {
		bad = append(bad, fmt.Errorf("application-consistent points every %s: not between the rpo, %s, and 30d", FormatDuration(p.AppEvery), FormatDuration(p.RPO)))
	}
	if p.FreezeTimeout != 0 && (p.FreezeTimeout < time.Second || p.FreezeTimeout > maxFreeze) {
		bad = append(bad, fmt.Errorf("freeze timeout %s is not between 1s and %s", FormatDuration(p.FreezeTimeout), FormatDuration(maxFreeze)))
	}
	if len(p.Keep) == 0 {
		bad = append(bad, errors.New("it keeps nothing"))
	}
	for i, t := range p.Keep {
		if err := t.validate(); err != nil {
			bad = append(bad, err)
			continue
		}
		if i == 0 {
			continue
		}
		if before := p.Keep[i-1]; t.Every <= before.Every || t.For <= before.For {
			bad = append(bad, fmt.Errorf("tier %q must be sparser and kept longer than %q before it", t, before))
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return WithHint(fmt.Errorf("policy %q: %w", p.Name, joinLine(bad)), KindInvalid,
		fmt.Sprintf("for example: rpo: 1m, keep: %q", FormatTiers(DefaultPolicy().Keep)))
}

// joinLine joins errors on one line, for a person.
func joinLine(errs []error) error {
	text := make([]string, len(errs))
	for i, err := range errs {
		text[i] = err.Error()
	}
	return errors.New(strings.Join(text, "; "))
}

func (t Tier) validate() error {
	switch {
	case t.Every < 0 || t.Every > 0 && t.Every < time.Second:
		return fmt.Errorf("tier %q: the interval is below 1s", t)
	case t.For <= 0 || t.For > maxPeriod:
		return fmt.Errorf("tier %q: the time to keep is not between 1s and 100 years", t)
	case t.For < t.Every:
		return fmt.Errorf("tier %q: kept for less than its interval", t)
	}
	return nil
}

// Shortens reports whether points that tiers would keep at some age are not kept by others in their place.
func Shortens(before, after []Tier) bool {
	return slices.ContainsFunc(before, func(b Tier) bool {
		return !slices.ContainsFunc(after, func(a Tier) bool { return a.Every <= b.Every && a.For >= b.For })
	})
}

// String is the tier as ParseTiers reads it: "all for 1h", "5m for 1d".
func (t Tier) String() string {
	every := "all"
	if t.Every != 0 {
		every = FormatDuration(t.Every)
	}
	return every + " for " + FormatDuration(t.For)
}

// FormatTiers is tiers as ParseTiers reads them.
func FormatTiers(tiers []Tier) string {
	text := make([]string, len(tiers))
	for i, t := range tiers {
		text[i] = t.String()
	}
	return strings.Join(text, ", ")
}

// ParseTiers reads tiers such as "all for 1h, 5m for 1d, 1h for 7d, 1d for 30d".
func ParseTiers(s string) ([]Tier, error) {
	var tiers []Tier
	for part := range strings.SplitSeq(s, ",") {
		every, keep, ok := strings.Cut(strings.TrimSpace(part), " for ")
		if !ok {
			return nil, tierError("tier %q is not of the form \"5m for 1d\"", strings.TrimSpace(part))
		}
		var t Tier
		var err error
		if every = strings.TrimSpace(every); every != "all" {
			if t.Every, err = ParseDuration(every); err != nil {
				return nil, tierError("tier %q: %w", part, err)
			}
			if t.Every == 0 {
				return nil, tierError("tier %q: an interval of 0 is written \"all\"", part)
			}
		}
		if t.For, err = ParseDuration(strings.TrimSpace(keep)); err != nil {
			return nil, tierError("tier %q: %w", part, err)
		}
		if err := t.validate(); err != nil {
			return nil, tierError("%w", err)
		}
		tiers = append(tiers, t)
	}
	return tiers, nil
}

func tierError(format string, args ...any) error {
	return WithHint(fmt.Errorf(format, args...), KindInvalid, `write, for example, "all for 1h, 5m for 1d, 1h for 7d, 1d for 30d"`)
}

// ParseDuration reads a duration as time.ParseDuration does, with d for days of 24 hours and w for weeks as the first
// units: "90s", "1d", "1w2d", "1d12h".
func ParseDuration(s string) (time.Duration, error) {
	rest := s
	var total time.Duration
	for _, u := range []struct {
		name string
		unit time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		digits, after, ok := strings.Cut(rest, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 32)
		if err != nil || time.Duration(n) > maxPeriod/u.unit {
			return 0, badDuration(s)
		}
		total += time.Duration(n) * u.unit
		rest = after
	}
	if rest == "" {
		if s == "" {
			return 0, badDuration(s)
		}
		return total, nil
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || d > maxPeriod || rest[0] == '+' {
		return 0, badDuration(s)
	}
	return total + d, nil
}

func badDuration(s string) error {
	return WithHint(fmt.Errorf("duration %q is not valid", s), KindInvalid, `write, for example, "30s", "5m", "1h" or "7d"`)
}

// FormatDuration is a duration as ParseDuration reads it, with days and without the zero units of
// time.Duration.String: "7d", "1d12h", "5m", "1m30s".
func FormatDuration(d time.Duration) string {
	const day = 24 * time.Hour
	if d == 0 {
		return "0s"
	}
	if d < 0 {
		return d.String()
	}
	var b strings.Builder
	if d >= day {
		fmt.Fprintf(&b, "%dd", d/day)
		d %= day
	}
	if d == 0 {
		return b.String()
	}
	rest := d.String()
	if strings.HasSuffix(rest, "m0s") {
		rest = strings.TrimSuffix(rest, "0s")
	}
	if strings.HasSuffix(rest, "h0m") {
		rest = strings.TrimSuffix(rest, "0m")
	}
	return b.String() + rest
}
