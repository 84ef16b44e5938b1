// Package wire holds what travels between the API and its clients. Settings of time are text such as "5s" or "7d";
// measurements of time are seconds; instants are RFC 3339 in UTC, and left out when there is none.
package wire

import (
	"fmt"
	"time"

	"understudy/internal/dr"
)

// Duration is a setting of time, written as text.
type Duration time.Duration

// MarshalText writes the duration.
func (d Duration) MarshalText() ([]byte, error) {
	return []byte(dr.FormatDuration(time.Duration(d))), nil
}

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := dr.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// Site is a place where machines run.
type Site struct {
	Name     string            `json:"name" minLength:"1" maxLength:"63" pattern:"^[a-z0-9][a-z0-9-]*$" doc:"Lower-case letters, digits and '-'"`
	Provider string            `json:"provider" minLength:"1" example:"qemu"`
	Config   map[string]string `json:"config,omitempty" doc:"Settings of the provider"`
}

// Policy is a replication policy.
type Policy struct {
	Name string   `json:"name" minLength:"1" maxLength:"63" pattern:"^[a-z0-9][a-z0-9-]*$"`
	RPO  Duration `json:"rpo" example:"5s" doc:"Target age of the newest recovery point"`
	Keep string   `json:"keep" minLength:"1" doc:"Retention tiers, the densest first"`

	AppEvery      Duration `json:"appEvery,omitempty" example:"1h" doc:"How often a point is application consistent; left out: never"`
	FreezeTimeout Duration `json:"freezeTimeout,omitempty" example:"5s" doc:"How long guests may be frozen for one"`
}

// Vault is where recovery points are kept.
type Vault struct {
	Name    string `json:"name" minLength:"1" maxLength:"63" pattern:"^[a-z0-9][a-z0-9-]*$"`
	ID      string `json:"id,omitempty" readOnly:"true" doc:"The vault's own identity"`
	URL     string `json:"url" minLength:"1" example:"file:///srv/vault"`
	KeyFile string `json:"keyFile,omitempty" doc:"The key's file at the controller"`
	Lock    string `json:"lock,omitempty" writeOnly:"true" enum:"governance,compliance" doc:"Objects of a vault that is made are locked for as long as retention keeps them for sure"`
	// LockSeconds is chosen when the vault is made, like Lock.
	LockSeconds int64 `json:"lockAtMostSeconds,omitempty" writeOnly:"true" doc:"How far ahead anything is locked at most; 30 days when left out"`
	Made        bool  `json:"made,omitempty" readOnly:"true" doc:"The vault was made by this request"`
	NewKey      bool  `json:"newKey,omitempty" readOnly:"true" doc:"The key was made by this request: keep a copy"`
}

// Probe tells whether a recovered machine is healthy.
type Probe struct {
	Kind    string   `json:"kind,omitempty" enum:"serial,tcp,http,agent"`
	Text    string   `json:"text,omitempty" doc:"serial: text to wait for"`
	Port    int      `json:"port,omitempty" minimum:"0" maximum:"65535" doc:"tcp, http: the guest's port"`
	Path    string   `json:"path,omitempty" doc:"http"`
	Timeout Duration `json:"timeout,omitempty" example:"2m"`
}

// GroupMachine says how one machine of a group is recovered.
type GroupMachine struct {
	Name  string `json:"name" minLength:"1"`
	Order int    `json:"order,omitempty" doc:"Machines of a lower order start first"`
	Probe *Probe `json:"probe,omitempty"`
	Hooks *Hooks `json:"hooks,omitempty"`
}

// Group is a set of machines that are captured at one instant and failed over together.
type Group struct {
	Name     string         `json:"name" minLength:"1" maxLength:"63" pattern:"^[a-z0-9][a-z0-9-]*$"`
	Site     string         `json:"site" minLength:"1" doc:"Where its machines run"`
	Target   string         `json:"target,omitempty" doc:"Where they are recovered; by default the same site"`
	Vault    string         `json:"vault" minLength:"1"`
	Policy   string         `json:"policy,omitempty" doc:"By default: default"`
	Machines []GroupMachine `json:"machines" minItems:"1"`
	Paused   bool           `json:"paused,omitempty"`
}

// Cycle is what one replication cycle did.
type Cycle struct {
	Kind          string  `json:"kind"`
	Point         string  `json:"point,omitempty" doc:"Left out when nothing changed, or when it is not in the vault yet"`
	Spooled       int     `json:"spooled,omitempty" doc:"Captures that wait until the vault can be reached; they are no recovery points yet"`
	Read          int64   `json:"read"`
	Changed       int64   `json:"changed"`
	Stored        int64   `json:"stored"`
	PausedSeconds float64 `json:"pausedSeconds"`
	SkewSeconds   float64 `json:"skewSeconds,omitempty" doc:"How far the instants of the disks are apart, where they are not one"`
	Seconds       float64 `json:"seconds"`
	Reason        string  `json:"reason,omitempty"`
	Consistency   string  `json:"consistency,omitempty" enum:"crash,filesystem,application"`
	Shortfall     string  `json:"shortfall,omitempty" doc:"Why that is less than was asked for"`
}

// Progress is how far something is, in bytes.
type Progress struct {
	Phase string `json:"phase,omitempty"`
	Done  int64  `json:"done"`
	Total int64  `json:"total"`
}

// Status answers what would be lost now, for one group.
type Status struct {
	Group       string `json:"group"`
	Site        string `json:"site"`
	Target      string `json:"target"`
	Vault       string `json:"vault"`
	State       string `json:"state" doc:"Where the group is in its life cycle"`
	Replication string `json:"replication" doc:"What replication does"`

	Health         string `json:"health" enum:"critical,unknown,warning,healthy" doc:"Whether the group needs a person"`
	HealthReason   string `json:"healthReason,omitempty" doc:"Why it is not healthy"`
	Replicating    string `json:"replicating" enum:"fenced,failing,late,unknown,paused,seeding,off,current" doc:"Whether recovery points are made as they should be"`
	Recoverability string `json:"recoverability" enum:"not-recoverable,never-proven,proven-stale,proven" doc:"Whether there is something to fail over to, and whether that was shown to boot"`

	KnownGood   *time.Time `json:"knownGood,omitempty" doc:"The vault holds everything up to this instant"`
	LoseSeconds *float64   `json:"loseSeconds,omitempty" doc:"What is lost if the group's site is lost now; left out when nothing can be recovered"`
	LiveSince   *time.Time `json:"liveSince,omitempty" doc:"After a failover: since when the group runs at its site, where nothing protects it"`
	RPOSeconds  float64    `json:"rpoSeconds"`
	RPOMet      bool       `json:"rpoMet"`
	LastPoint   string     `json:"lastPoint,omitempty"`
	LastCycle   *Cycle     `json:"lastCycle,omitempty"`
	Progress    *Progress  `json:"progress,omitempty"`
	NextDue     *time.Time `json:"nextDue,omitempty"`
	Error       string     `json:"error,omitempty"`
	Hint        string     `json:"hint,omitempty"`
	Failures    int        `json:"failures,omitempty" doc:"Failed cycles in a row"`
	Warning     string     `json:"warning,omitempty" doc:"What is wrong while replication goes on, such as retention that fails"`
	WarningHint string     `json:"warningHint,omitempty"`
	Spool       *Spool     `json:"spool,omitempty" doc:"What waits while the vault cannot be reached; left out when nothing does"`
	Run         string     `json:"run,omitempty" doc:"The failover that the state is about"`
	Test        string     `json:"test,omitempty" doc:"Where a test failover is; left out when there is none"`
	TestRun     string     `json:"testRun,omitempty"`
	ProvenAt    *time.Time `json:"provenAt,omitempty" doc:"When a drill last proved that the group boots"`
	ProvenPoint string     `json:"provenPoint,omitempty"`
	ProvenRTO   *float64   `json:"provenRTOSeconds,omitempty"`
	Drill       *Drill     `json:"drill,omitempty" doc:"How it stands with its rehearsals; left out without a schedule"`
	Active      string     `json:"active,omitempty" doc:"The run of the group that is under way; it has one at a time"`
	Waiting     string     `json:"waiting,omitempty" doc:"The run of the group that waits for a person"`
	WaitingFor  string     `json:"waitingFor,omitempty" doc:"What it asks"`
	SplitBrain  []string   `json:"splitBrain,omitempty" doc:"Machines seen running where they must not"`
	Allowed     []string   `json:"allowed,omitempty" doc:"What may be asked of the group now, such as failover, commit or reprotect; of one group only, not in lists"`
}

// Spool is what was captured and is not in the vault.
type Spool struct {
	Points           int        `json:"points" doc:"Captures that wait; they are no recovery points yet"`
	Bytes            int64      `json:"bytes"`
	Newest           *time.Time `json:"newest,omitempty" doc:"Instant of the newest that waits"`
	UnreachableSince *time.Time `json:"unreachableSince,omitempty" doc:"Since when the vault cannot be reached; left out when it can"`
	Error            string     `json:"error,omitempty" doc:"Why it cannot be reached"`
}

// Step is one step of a run.
type Step struct {
	Name     string     `json:"name"`
	Title    string     `json:"title"`
	State    string     `json:"state"`
	Message  string     `json:"message,omitempty"`
	Attempts int        `json:"attempts,omitempty"`
	Started  *time.Time `json:"started,omitempty"`
	Ended    *time.Time `json:"ended,omitempty"`
	Error    string     `json:"error,omitempty"`
	Hint     string     `json:"hint,omitempty"`
	Done     int64      `json:"done,omitempty" doc:"Bytes"`
	Total    int64      `json:"total,omitempty"`
	Rate     int64      `json:"rate,omitempty" doc:"Bytes per second"`
	ETA      string     `json:"eta,omitempty"`
}

// Run is one execution of a recovery operation.
type Run struct {
	ID        string         `json:"id"`
	Kind      string         `json:"kind"`
	Group     string         `json:"group"`
	About     string         `json:"about,omitempty" doc:"What a run is about that is of no group"`
	Point     string         `json:"point,omitempty"`
	Plan      string         `json:"plan,omitempty" doc:"The recovery plan that it carries out; left out of lists"`
	State     string         `json:"state" enum:"pending,running,waiting,succeeded,failed,cancelled"`
	Message   string         `json:"message,omitempty"`
	Requested time.Time      `json:"requested"`
	Started   *time.Time     `json:"started,omitempty"`
	Ended     *time.Time     `json:"ended,omitempty"`
	Error     string         `json:"error,omitempty"`
	ErrorKind string         `json:"errorKind,omitempty"`
	Hint      string         `json:"hint,omitempty"`
	By        string         `json:"by,omitempty"`
	Result    map[string]any `json:"result,omitempty"`
	Steps     []Step         `json:"steps,omitempty" doc:"In order; left out of lists"`
}

// Over reports whether the run has ended.
func (r Run) Over() bool {
	return r.State == "succeeded" || r.State == "failed" || r.State == "cancelled"
}

// Fence is a machine that must not run at a site.
type Fence struct {
	Group      string     `json:"group"`
	Site       string     `json:"site"`
	Machine    string     `json:"machine"`
	Reason     string     `json:"reason"`
	Since      time.Time  `json:"since"`
	Held       bool       `json:"held" doc:"The site confirmed that it cannot start"`
	SplitBrain *time.Time `json:"splitBrain,omitempty" doc:"When it was first seen running there"`
	Seen       *time.Time `json:"seen,omitempty"`
	Power      string     `json:"power,omitempty"`
	Error      string     `json:"error,omitempty"`
	Run        string     `json:"run,omitempty"`
}

// Failover asks for a failover.
type Failover struct {
	Kind  string `json:"kind" enum:"test,planned,unplanned"`
	Point string `json:"point,omitempty" doc:"latest, an ID or a time; by default latest. A planned failover takes what its final cycle makes"`
	Plan  string `json:"plan,omitempty" doc:"The recovery plan to carry out"`
}

// Power asks for a change of a machine's power state.
type Power struct {
	Action string `json:"action" enum:"start,shutdown,kill"`
}

// Version is what the controller is.
type Version struct {
	Version string `json:"version"`
}

// Problem is an error as the API writes it: RFC 9457 with a kind, which classes it, and a hint, which helps.
type Problem struct {
	Title  string         `json:"title"`
	Status int            `json:"status"`
	Detail string         `json:"detail"`
	Kind   string         `json:"kind" enum:"invalid,not-found,conflict,fenced,corrupt,unavailable,internal,unauthorised,forbidden,approval-wanted"`
	Hint   string         `json:"hint,omitempty"`
	Errors []ProblemField `json:"errors,omitempty" doc:"What is wrong where in the request"`

	Approval string `json:"approval,omitempty" doc:"With status 202 and kind approval-wanted: another person answers it, and then the same request passes once"`
}

// ProblemField says what is wrong with one field of a request.
type ProblemField struct {
	Location string `json:"location,omitempty" example:"body.rpo"`
	Message  string `json:"message"`
}

// Error is the detail, with the fields.
func (p *Problem) Error() string {
	s := p.Detail
	for i, f := range p.Errors {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		s += fmt.Sprintf("%s%s %s", sep, f.Location, f.Message)
	}
	return s
}

// GetStatus is the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType names problems by their own type.
func (p *Problem) ContentType(string) string { return "application/problem+json" }
