package sim

import (
	"net/http"
	"time"
)

const operationsPath = "/operations/"

// An operation goes on after the request that began it was answered.
type operation struct {
	id     string
	region string
	ends   time.Time
	polls  int                     // that are still answered with InProgress
	finish func() (any, *armError) // its result, once
	done   bool
	result any
	err    *armError
}

// begin starts an operation. finish runs, with the lock held, when it ends.
func (s *Sim) begin(region string, finish func() (any, *armError)) *operation {
	op := &operation{id: s.newID(), region: normal(region), ends: s.o.Now().Add(s.o.Duration), polls: s.o.Polls, finish: finish}
	s.operations[op.id] = op
	return op
}

// settle ends an operation whose time has come.
func (s *Sim) settle(op *operation) {
	if op.done || op.polls > 0 || s.o.Now().Before(op.ends) || s.down[op.region] {
		return
	}
	op.done = true
	if op.finish != nil {
		op.result, op.err = op.finish()
	}
}

// Settle lets every operation go on by one look.
func (s *Sim) Settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range sortedKeys(s.operations) {
		op := s.operations[key]
		op.polls = max(0, op.polls-1)
		s.settle(op)
	}
}

func (s *Sim) poll(r *http.Request, id string) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls["GET operation"]++
	op := s.operations[id]
	if op == nil {
		return answer{err: notFound(operationsPath + id)}
	}
	if s.down[op.region] {
		return answer{err: refusal(http.StatusServiceUnavailable, "ServiceUnavailable", "The service in %s is unavailable.", op.region)}
	}
	if op.polls > 0 {
		op.polls--
	}
	s.settle(op)
	monitor := r.URL.Query().Get("monitor") != ""
	switch {
	case !op.done && monitor:
		return answer{status: http.StatusAccepted, op: op}
	case !op.done:
		return answer{status: http.StatusOK, body: doc{"name": op.id, "status": "InProgress", "startTime": op.ends}}
	case monitor && op.err != nil:
		return answer{err: op.err}
	case monitor && op.result == nil:
		return answer{status: http.StatusNoContent}
	case monitor:
		return answer{status: http.StatusOK, body: op.result}
	case op.err != nil:
		// A failure of an operation is told with the status of success.
		return answer{status: http.StatusOK, body: doc{"name": op.id, "status": "Failed", "error": doc{"code": op.err.code, "message": op.err.text}}}
	}
	body := doc{"name": op.id, "status": "Succeeded"}
	if op.result != nil {
		body["properties"] = doc{"output": op.result}
	}
	return answer{status: http.StatusOK, body: body}
}

// later answers that something was accepted and goes on.
func later(status int, body any, op *operation) answer {
	return answer{status: status, body: body, op: op}
}
