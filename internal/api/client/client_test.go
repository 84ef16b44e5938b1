package client

import (
	"net/url"
	"testing"
	"time"
)

func TestQuery(t *testing.T) {
	if q := query("a", "", "b", false, "c", int64(0), "d", time.Time{}, "e", []string(nil)); q != "" {
		t.Errorf("zero values are sent: %s", q)
	}
	at := time.Date(2026, 3, 29, 1, 30, 0, 5, time.FixedZone("", 2*3600))
	got := query("a", "x&y=ü z", "b", true, "c", int64(-7), "d", at, "e", []string{"1:a", "2:b"})
	values, err := url.ParseQuery(got[1:])
	if err != nil || values.Get("a") != "x&y=ü z" || values.Get("b") != "true" || values.Get("c") != "-7" || values.Get("d") != "2026-03-28T23:30:00.000000005Z" || len(values["e"]) != 2 {
		t.Errorf("%s: %v %v", got, values, err)
	}
}

// A name is one part of a path, whatever it is.
func TestPath(t *testing.T) {
	for name, want := range map[string]string{"a/b": "/v1/x/a%2Fb/y", "..": "/v1/x/%2E%2E/y", ".": "/v1/x/%2E/y", "a..b": "/v1/x/a..b/y", "?#% ": "/v1/x/%3F%23%25%20/y"} {
		if got := path("x", name, "y"); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
}

// All pages of a list that is found by a number are read, and a place that is none ends it.
func TestAllByNumber(t *testing.T) {
	pages := map[string]Page[int]{"": {Items: []int{9, 8}, Next: "8"}, "8": {Items: []int{7}}}
	read := func(next string) (Page[int], error) {
		_, err := number(next)
		return pages[next], err
	}
	if list, err := all(read); err != nil || len(list) != 3 || list[2] != 7 {
		t.Errorf("%v %v", list, err)
	}
	pages["8"] = Page[int]{Next: "x"}
	if _, err := all(read); err == nil {
		t.Error("x is a place")
	}
}
