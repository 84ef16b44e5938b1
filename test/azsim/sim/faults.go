package sim

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"time"
)

// A Fault changes the answers to some requests to Resource Manager.
type Fault struct {
	Method string `json:"method,omitempty"` // any when empty
	Path   string `json:"path"`             // a regular expression, without regard to case
	Skip   int    `json:"skip,omitempty"`   // requests that are answered as usual before
	Times  int    `json:"times,omitempty"`  // requests that it concerns; all when 0

	Status     int           `json:"status,omitempty"` // of the answer instead; the request does nothing
	Code       string        `json:"code,omitempty"`
	Text       string        `json:"text,omitempty"`
	RetryAfter time.Duration `json:"retryAfter,omitempty"`
	Slow       time.Duration `json:"slow,omitempty"` // before the answer
	Lose       bool          `json:"lose,omitempty"` // do what was asked, and break the connection
	Do         func()        `json:"-"`              // called first

	expr *regexp.Regexp
}

type faults struct {
	mu   sync.Mutex
	list []*Fault
}

// Fault adds a fault.
func (s *Sim) Fault(f Fault) {
	f.expr = regexp.MustCompile("(?i)" + f.Path)
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.list = append(s.faults.list, &f)
}

// CheckFault says what is wrong with a fault that a person wrote.
func CheckFault(f Fault) error {
	if _, err := regexp.Compile("(?i)" + f.Path); err != nil {
		return fmt.Errorf("path: %w", err)
	}
	return nil
}

// NoFaults removes all faults.
func (s *Sim) NoFaults() {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.list = nil
}

// match returns the fault that concerns a request, or nil.
func (f *faults) match(r *http.Request) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, one := range f.list {
		if one.Method != "" && one.Method != r.Method || !one.expr.MatchString(r.URL.Path) {
			continue
		}
		if one.Skip > 0 {
			one.Skip--
			continue
		}
		if one.Times > 0 {
			if one.Times--; one.Times == 0 {
				f.list = slices.Delete(f.list, i, i+1)
			}
		}
		if one.Do != nil {
			one.Do()
		}
		return one
	}
	return nil
}
