package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/store/sqlite"
)

// An Attempt is one execution of an action of a run. It is saved before it begins and when it has ended.
type Attempt struct {
	Run     string    `json:"run"`
	Action  string    `json:"action"`
	Attempt int       `json:"attempt"` // from 1
	Round   int       `json:"round"`   // from 1; rises when a person asks to retry
	Begun   time.Time `json:"begun"`
	Until   time.Time `json:"until,omitzero"` // of a wait: when it is over
	Ended   time.Time `json:"ended,omitzero"`
	Done    bool      `json:"done,omitempty"`
	Unknown bool      `json:"unknown,omitempty"` // its outcome, because the controller died
	Error   string    `json:"error,omitempty"`
	Kind    dr.Kind   `json:"kind,omitempty"` // of the error
	Hint    string    `json:"hint,omitempty"`
	Output  string    `json:"output,omitempty"` // the last of what it wrote, without secrets

	Extensions []dr.ExtensionResult `json:"extensions,omitempty"`
}

// Err is why the attempt failed, or nil.
func (a Attempt) Err() error {
	if a.Error == "" {
		return nil
	}
	return dr.WithHint(errors.New(a.Error), a.Kind, a.Hint)
}

// BeginAttempt records that an attempt begins. One that was recorded already, by whomever, is dr.KindConflict.
func (s *Store) BeginAttempt(ctx context.Context, a Attempt) error {
	_, err := s.exec(ctx, "begin "+a.Action, "INSERT INTO action_attempts(run, action, attempt, doc) VALUES(?, ?, ?, ?)", a.Run, a.Action, a.Attempt, encode(a))
	if _, unique := sqlite.Constraint(err); unique {
		return dr.WithHint(fmt.Errorf("begin %s: attempt %d was begun elsewhere", a.Action, a.Attempt), dr.KindConflict, "")
	}
	return err
}

// EndAttempt records how an attempt ended.
func (s *Store) EndAttempt(ctx context.Context, a Attempt) error {
	_, err := s.exec(ctx, "end "+a.Action, "UPDATE action_attempts SET doc = ? WHERE run = ? AND action = ? AND attempt = ? AND json_extract(doc, '$.ended') IS NULL",
		encode(a), a.Run, a.Action, a.Attempt)
	return err
}

// Attempts returns the attempts of an action in order.
func (s *Store) Attempts(ctx context.Context, run, action string) ([]Attempt, error) {
	return queryDocs[Attempt](ctx, s.read, "read attempts of "+action,
		"SELECT doc FROM action_attempts WHERE run = ? AND action = ? ORDER BY attempt", run, action)
}

// A Question is what a run asks people.
type Question struct {
	Run     string    `json:"run"`
	Topic   string    `json:"topic"`   // unique in the run
	Action  string    `json:"action"`  // that it is about
	Message string    `json:"message"` // what is asked
	Answers []string  `json:"answers"` // that are possible
	Asked   time.Time `json:"asked"`
	Until   time.Time `json:"until,omitzero"` // when nobody is waited for any more

	Answered time.Time `json:"answered,omitzero"`
	Answer   string    `json:"answer,omitempty"` // one of Answers, or empty when Until passed
	By       string    `json:"by,omitempty"`
	Note     string    `json:"note,omitempty"`
}

// Ask saves a question unless it was asked before, and returns it as it is now.
func (s *Store) Ask(ctx context.Context, q Question) (Question, error) {
	var now Question
	err := s.tx(ctx, "ask in run "+q.Run, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO run_questions(run, topic, answered, doc) VALUES(?, ?, 0, ?) ON CONFLICT(run, topic) DO NOTHING", q.Run, q.Topic, encode(q))
		if _, unique := sqlite.Constraint(err); unique {
			return fmt.Errorf("run %s asks something else", q.Run)
		}
		if err != nil {
			return err
		}
		now, err = docTx[Question](ctx, tx, "question", q.Topic, "SELECT doc FROM run_questions WHERE run = ? AND topic = ?", q.Run, q.Topic)
		return err
	})
	return now, err
}

// Answer answers a question that is open; dr.KindConflict when it is not. It returns the question.
func (s *Store) Answer(ctx context.Context, run, topic string, answer func(*Question) error) (Question, error) {
	var q Question
	err := s.tx(ctx, "answer run "+run, func(tx *sql.Tx) (err error) {
		q, err = docTx[Question](ctx, tx, "question", topic, "SELECT doc FROM run_questions WHERE run = ? AND topic = ?", run, topic)
		if err != nil {
			return err
		}
		if !q.Answered.IsZero() {
			return dr.WithHint(fmt.Errorf("that was answered by %s at %s: %s", q.By, q.Answered.Format(time.RFC3339), q.Answer), dr.KindConflict, "understudy run show "+run)
		}
		if err := answer(&q); err != nil {
			return err
		}
		q.Answered = s.now().UTC()
		_, err = tx.ExecContext(ctx, "UPDATE run_questions SET answered = ?, doc = ? WHERE run = ? AND topic = ?", nanos(q.Answered), encode(q), run, topic)
		return err
	})
	return q, err
}

// OpenQuestion returns what a run asks now, and whether it asks anything.
func (s *Store) OpenQuestion(ctx context.Context, run string) (Question, bool, error) {
	list, err := queryDocs[Question](ctx, s.read, "read question of run "+run, "SELECT doc FROM run_questions WHERE run = ? AND answered = 0", run)
	if err != nil || len(list) == 0 {
		return Question{}, false, err
	}
	return list[0], true, nil
}

// OpenQuestions returns what all runs ask now.
func (s *Store) OpenQuestions(ctx context.Context) ([]Question, error) {
	return queryDocs[Question](ctx, s.read, "read questions", "SELECT doc FROM run_questions WHERE answered = 0 ORDER BY run, topic")
}

// Questions returns everything that a run has asked, in the order of asking.
func (s *Store) Questions(ctx context.Context, run string) ([]Question, error) {
	return queryDocs[Question](ctx, s.read, "read questions of run "+run, "SELECT doc FROM run_questions WHERE run = ? ORDER BY json_extract(doc, '$.asked'), topic", run)
}

// Question returns a question of a run.
func (s *Store) Question(ctx context.Context, run, topic string) (Question, error) {
	list, err := queryDocs[Question](ctx, s.read, "read question of run "+run, "SELECT doc FROM run_questions WHERE run = ? AND topic = ?", run, topic)
	return one(list, err, "question", topic, "understudy run show "+run)
}

// Text is the question with what to type.
func (q Question) Text() string {
	text := q.Message + "; to answer: " + q.Ways()
	if !q.Until.IsZero() {
		text += " (until " + q.Until.Local().Format("2006-01-02 15:04:05") + ")"
	}
	return text
}

// Reply is the answer with who gave it and why.
func (q Question) Reply() string {
	if q.Answer == "" {
		return "nobody answered in time"
	}
	text := q.Answer + ", by " + q.By
	if q.Note != "" {
		text += ": " + q.Note
	}
	return text
}

// Commands are the commands that answer the question.
func (q Question) Commands() []string {
	var ways []string
	for _, a := range q.Answers {
		switch a {
		case "skip":
			ways = append(ways, "understudy run skip "+q.Run+" --reason TEXT")
		case "confirm":
			ways = append(ways, "understudy move confirm "+q.Run)
		default:
			ways = append(ways, "understudy run "+a+" "+q.Run)
		}
	}
	return append(ways, "understudy run cancel "+q.Run)
}

// Ways are the commands that answer the question, in one line.
func (q Question) Ways() string { return strings.Join(q.Commands(), ", or ") }
