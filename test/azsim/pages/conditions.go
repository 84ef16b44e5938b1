package pages

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// conditions checks the conditions of a request on what is there; st is nil when nothing is. prefix is of the headers' names:
// empty, or x-ms-source- for the source of a copy.
func (c *call) conditions(st *state, prefix string) error {
	h := c.r.Header
	reads := prefix == "" && (c.r.Method == http.MethodGet || c.r.Method == http.MethodHead)
	unmet := func(unchanged bool) error {
		switch {
		case prefix != "":
			return fail(http.StatusPreconditionFailed, "SourceConditionNotMet", "The source condition specified using HTTP conditional header(s) is not met.")
		case unchanged && reads:
			return fail(http.StatusNotModified, "ConditionNotMet", "The condition specified using HTTP conditional header(s) is not met.")
		}
		return fail(http.StatusPreconditionFailed, "ConditionNotMet", "The condition specified using HTTP conditional header(s) is not met.")
	}
	if v := h.Get(prefix + "If-Match"); v != "" && (st == nil || v != "*" && !sameETag(v, st.etag)) {
		return unmet(false)
	}
	if v := h.Get(prefix + "If-None-Match"); v != "" && st != nil {
		if v == "*" && !reads {
			return fail(http.StatusConflict, "BlobAlreadyExists", "The specified blob already exists.")
		}
		if v == "*" || sameETag(v, st.etag) {
			return unmet(true)
		}
	}
	for _, name := range []string{"If-Modified-Since", "If-Unmodified-Since"} {
		v := h.Get(prefix + name)
		if v == "" || st == nil {
			continue
		}
		at, err := http.ParseTime(v)
		if err != nil {
			return fail(http.StatusBadRequest, "InvalidHeaderValue", "%s: %q", name, v)
		}
		// Headers tell whole seconds.
		if since := st.modified.Truncate(time.Second).After(at); since != (name == "If-Modified-Since") {
			return unmet(name == "If-Modified-Since")
		}
	}
	if v := h.Get("x-ms-if-tags"); v != "" && prefix == "" && st != nil {
		if want, ok := parseWhere(v); !ok || !matchTags(st.tags, want) {
			return unmet(false)
		}
	}
	return nil
}

func sameETag(a, b string) bool { return strings.Trim(a, `"`) == strings.Trim(b, `"`) }

// sequence checks the conditions on the sequence number of a page blob.
func (c *call) sequence(st *state) error {
	for name, holds := range map[string]func(have, want int64) bool{
		"x-ms-if-sequence-number-le": func(have, want int64) bool { return have <= want },
		"x-ms-if-sequence-number-lt": func(have, want int64) bool { return have < want },
		"x-ms-if-sequence-number-eq": func(have, want int64) bool { return have == want },
	} {
		v := c.r.Header.Get(name)
		if v == "" {
			continue
		}
		want, err := strconv.ParseInt(v, 10, 64)
		if err != nil || want < 0 {
			return fail(http.StatusBadRequest, "InvalidInput", "%s: %q", name, v)
		}
		if !holds(st.sequence, want) {
			return fail(http.StatusPreconditionFailed, "SequenceNumberConditionNotMet", "The sequence number condition specified was not met.")
		}
	}
	return nil
}

// A lease keeps changes to those who know its ID.
type lease struct {
	id       string
	duration time.Duration // 0 for ever
	ends     time.Time     // of one that does not last for ever, or is being broken
	broken   bool
}

func (l *lease) state(now time.Time) string {
	switch expired := !l.ends.IsZero() && !now.Before(l.ends); {
	case l.id == "":
		return "available"
	case l.broken && expired:
		return "broken"
	case l.broken:
		return "breaking"
	case expired:
		return "expired"
	}
	return "leased"
}

func (l *lease) active(now time.Time) bool {
	s := l.state(now)
	return s == "leased" || s == "breaking"
}

// allows checks that a request that changes something names the lease. what is Blob or Container.
func (l *lease) allows(r *http.Request, now time.Time, what string) error {
	given := r.Header.Get("x-ms-lease-id")
	switch {
	case l.active(now) && given == "":
		return fail(http.StatusPreconditionFailed, "LeaseIdMissing", "There is currently a lease on the %s and no lease ID was specified in the request.", strings.ToLower(what))
	case l.active(now) && !strings.EqualFold(given, l.id):
		return fail(http.StatusPreconditionFailed, "LeaseIdMismatchWith"+what+"Operation", "The lease ID specified did not match the lease ID for the %s.", strings.ToLower(what))
	case given != "" && !l.active(now):
		return fail(http.StatusPreconditionFailed, "LeaseNotPresentWith"+what+"Operation", "There is currently no lease on the %s.", strings.ToLower(what))
	}
	return nil
}

func (l *lease) show(h http.Header, now time.Time) {
	h.Set("x-ms-lease-state", l.state(now))
	h.Set("x-ms-lease-status", map[bool]string{true: "locked", false: "unlocked"}[l.active(now)])
	if l.state(now) == "leased" {
		h.Set("x-ms-lease-duration", map[bool]string{true: "infinite", false: "fixed"}[l.duration == 0])
	}
}

// leaseOf does what a request asks of a lease.
func (c *call) leaseOf(l *lease) error {
	h := c.r.Header
	given, proposed := h.Get("x-ms-lease-id"), h.Get("x-ms-proposed-lease-id")
	mine := l.id != "" && strings.EqualFold(given, l.id)
	mismatch := fail(http.StatusConflict, "LeaseIdMismatchWithLeaseOperation", "The lease ID specified did not match the lease ID.")
	extend := func() {
		l.ends, l.broken = time.Time{}, false
		if l.duration > 0 {
			l.ends = c.now.Add(l.duration)
		}
	}
	status := http.StatusOK
	switch h.Get("x-ms-lease-action") {
	case "acquire":
		seconds, err := strconv.Atoi(h.Get("x-ms-lease-duration"))
		if err != nil || seconds != -1 && (seconds < 15 || seconds > 60) {
			return fail(http.StatusBadRequest, "InvalidHeaderValue", "x-ms-lease-duration")
		}
		if l.active(c.now) && !strings.EqualFold(proposed, l.id) {
			return fail(http.StatusConflict, "LeaseAlreadyPresent", "There is already a lease present.")
		}
		if l.id, l.duration = proposed, time.Duration(max(seconds, 0))*time.Second; l.id == "" {
			l.id = unique()
		}
		extend()
		status = http.StatusCreated
	case "renew":
		if !mine {
			return mismatch
		}
		extend()
	case "change":
		if !l.active(c.now) || !mine && !strings.EqualFold(proposed, l.id) {
			return mismatch
		}
		l.id = proposed
	case "release":
		if !mine {
			return mismatch
		}
		*l = lease{}
	case "break":
		if !l.active(c.now) {
			return fail(http.StatusConflict, "LeaseNotPresentWithLeaseOperation", "There is currently no lease.")
		}
		wait := time.Duration(0)
		if seconds, err := strconv.Atoi(h.Get("x-ms-lease-break-period")); err == nil {
			wait = time.Duration(seconds) * time.Second
		} else if l.duration > 0 {
			wait = l.ends.Sub(c.now)
		}
		l.broken, l.ends = true, c.now.Add(wait)
		c.w.Header().Set("x-ms-lease-time", strconv.Itoa(int(wait.Seconds())))
		status = http.StatusAccepted
	default:
		return fail(http.StatusBadRequest, "InvalidHeaderValue", "x-ms-lease-action")
	}
	if l.id != "" && status != http.StatusAccepted {
		c.w.Header().Set("x-ms-lease-id", l.id)
	}
	c.w.WriteHeader(status)
	return nil
}
