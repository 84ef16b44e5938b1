// Package api is the controller's HTTP API: huma operations on net/http, described by the OpenAPI document that they
// generate. Every operation names what it needs (needs.go), and a caller is known by a bearer token or by the cookie of a
// session; errors are problems of RFC 9457 with a kind and a hint. The package converts between the wire and the nouns of dr; the controller does the work.
package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"path"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"understudy/internal/access/oidc"
	"understudy/internal/api/wire"
	"understudy/internal/controller"
	"understudy/internal/dr"
	"understudy/internal/replicate"
	"understudy/internal/site"
	"understudy/internal/store"
	"understudy/internal/vault"
)

// Backend does what the API is asked for. Errors carry a dr.Kind and a hint.
type Backend interface {
	AccessBackend
	RecordBackend
	LifeCycleBackend
	CloneBackend
	ExamineBackend
	DrillBackend
	MonitorBackend
	NotificationBackend
	PlanBackend
	PreflightBackend
	PointBackend
	ReadingBackend
	ExtensionBackend
	WatchBackend
	ForeseeBackend
	RequestBackend
	MetricsBackend

	Ready(ctx context.Context) error

	Sites(ctx context.Context) ([]dr.Site, error)
	Site(ctx context.Context, name string) (dr.Site, error)
	AddSite(ctx context.Context, s dr.Site) error
	RemoveSite(ctx context.Context, name string) error

	Machines(ctx context.Context, siteName string) ([]dr.Machine, error)
	Power(ctx context.Context, siteName, machine string, action site.PowerAction) error

	Policies(ctx context.Context) ([]dr.Policy, error)
	PutPolicy(ctx context.Context, p dr.Policy) error
	RemovePolicy(ctx context.Context, name string) error

	Vaults(ctx context.Context) ([]store.Vault, error)
	Vault(ctx context.Context, name string) (store.Vault, error)
	// AddVault opens the vault at the URL, or makes it; with a rule for locks it must be made with that.
	AddVault(ctx context.Context, v store.Vault, lock *vault.LockRule) (added store.Vault, made, newKey bool, err error)
	RemoveVault(ctx context.Context, name string) error

	Groups(ctx context.Context) ([]dr.Group, error)
	Group(ctx context.Context, name string) (dr.Group, error)
	Protect(ctx context.Context, g dr.Group) (dr.Group, error)
	Unprotect(ctx context.Context, name string) error
	// Status returns the status of one group, or of all when name is empty.
	Status(ctx context.Context, name string) ([]controller.Status, error)
	Sync(ctx context.Context, group string) (replicate.Result, error)
	Pause(ctx context.Context, group string) error
	Resume(ctx context.Context, group string) error

	// StartRun begins a run of a kind (test-failover, planned-failover, failover, commit, cleanup).
	StartRun(ctx context.Context, kind, group, point, by string) (store.Run, error)
	Runs(ctx context.Context, f store.RunFilter) ([]store.Run, error)
	Run(ctx context.Context, id string) (store.Run, []store.Step, error)
	// WatchRun calls fn with a run at every change until it has ended, ctx ends or fn returns an error.
	WatchRun(ctx context.Context, id string, fn func(store.Run, []store.Step) error) error
	CancelRun(ctx context.Context, id, by string) error
	Fences(ctx context.Context, group string) ([]store.Fence, error)
}

// Options configure the API.
type Options struct {
	Version string
	Logger  *slog.Logger
	Now     func() time.Time // the clock; time.Now when nil
	// FourEyes has another person approve a failover from a source that answers, what deletes, what shortens retention,
	// and changes to users and tokens.
	FourEyes bool
	OIDC     oidc.Config // providers of identities, as oidc.Parse checked them
	Secure   bool        // browsers reach the API over TLS, also when it comes here without: cookies are for TLS only
}

// maxBody bounds a request's body, in bytes.
const maxBody = 1 << 20

// setGlobals sets what huma keeps in package variables. Every API of the process wants the same.
var setGlobals = sync.OnceFunc(func() {
	huma.DefaultArrayNullable = false
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError { return newProblem(status, msg, errs) }
})

type server struct {
	backend Backend // guarded: it checks and filters by who asks
	inner   Backend // not guarded, for finding out what a request is about
	opts    Options
	logins  *logins
	oidc    *oidc.Logins
	streams chan struct{} // a place for each stream of events
	unknown *unknown
}

// New returns the API of a backend.
func New(b Backend, o Options) (http.Handler, huma.API) {
	setGlobals()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &server{inner: b, opts: o, logins: newLogins(o.Now), unknown: newUnknown(o.Now), oidc: oidc.New(o.OIDC, o.Now), streams: make(chan struct{}, maxStreams)}
	s.backend = guard{b, s}
	config := huma.DefaultConfig("Understudy", o.Version)
	config.Info.Description = "Disaster recovery for virtual machines."
	config.DocsPath = "" // huma's pages load scripts from other hosts
	config.SchemasPath = ""
	config.CreateHooks = nil // no $schema links in answers
	config.Transformers = append(config.Transformers, noteProblem)
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token":   {Type: "http", Scheme: "bearer"},
		"session": {Type: "apiKey", In: "cookie", Name: cookieName},
	}
	config.Security = []map[string][]string{{"token": {}}, {"session": {}}}
	mux := http.NewServeMux()
	a := humago.New(mux, config)
	a.UseMiddleware(s.authorise(a), s.once(a))
	s.health(a)
	s.sessions(a)
	s.oidcSessions(a)
	s.users(a)
	s.approvals(a)
	s.audit(a)
	s.sites(a)
	s.policies(a)
	s.vaults(a)
	s.groups(a)
	s.points(a)
	s.readings(a)
	s.runs(a)
	s.lifeCycle(a)
	s.preflights(a)
	s.drills(a)
	s.monitors(a)
	s.notifications(a)
	s.plans(a)
	s.extensions(a)
	s.clones(a)
	s.examinations(a)
	s.lists(a)
	s.overview(a)
	s.events(a)
	s.history(a)
	s.foresee(a)
	s.metrics(a)
	return s.wrap(mux), a
}

// wrap refuses what a browser page of another origin may send, and says in the problem format that a path is unknown. So is one with
// dots or empty parts: the mux would lead a client to the path without them, and to another operation with that.
func (s *server) wrap(mux *http.ServeMux) http.Handler {
	protected := http.NewCrossOriginProtection().Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, pattern := mux.Handler(r)
		if at := r.URL.EscapedPath(); pattern == "" || at != path.Clean(at) {
			problem := newProblem(http.StatusNotFound, "no such path: "+r.URL.Path, nil)
			problem.Hint = "the API is described at /openapi.json"
			writeProblem(w, problem)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		ask, err := newAsking(r)
		if err != nil {
			writeProblem(w, newProblem(http.StatusRequestEntityTooLarge, "read the request: "+err.Error(), nil))
			return
		}
		protected.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), askingKey{}, ask)))
	})
}

// statuses are the HTTP statuses of error kinds.
var statuses = map[dr.Kind]int{
	dr.KindInvalid: http.StatusUnprocessableEntity, dr.KindNotFound: http.StatusNotFound, dr.KindConflict: http.StatusConflict,
	dr.KindFenced: http.StatusConflict, dr.KindCorrupt: http.StatusInternalServerError,
	dr.KindForbidden: http.StatusForbidden, dr.KindApproval: http.StatusAccepted,
	dr.KindUnavailable: http.StatusServiceUnavailable, dr.KindInternal: http.StatusInternalServerError,
}

// fail turns an error of the backend into a problem.
func fail(err error) error {
	if err == nil {
		return nil
	}
	kind := dr.KindOf(err)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		kind = dr.KindUnavailable
	}
	status := statuses[kind]
	p := &wire.Problem{Title: http.StatusText(status), Status: status, Detail: err.Error(), Kind: string(kind), Hint: dr.Hint(err)}
	var wanted *approvalWanted
	if errors.As(err, &wanted) {
		p.Approval = wanted.id
	}
	return p
}

// newProblem is the problem of an error that huma found.
func newProblem(status int, msg string, errs []error) *wire.Problem {
	p := &wire.Problem{Title: http.StatusText(status), Status: status, Detail: msg, Kind: string(dr.KindInvalid)}
	switch {
	case status == http.StatusUnauthorized:
		p.Kind = "unauthorised"
		p.Hint = "log in, or send a token as Authorization: Bearer TOKEN; the controller keeps it in its data folder, in the file token"
	case status == http.StatusNotFound:
		p.Kind = string(dr.KindNotFound)
	case status == http.StatusServiceUnavailable:
		p.Kind = string(dr.KindUnavailable)
	case status >= 500:
		p.Kind = string(dr.KindInternal)
	}
	for _, err := range errs {
		var detailer huma.ErrorDetailer
		switch {
		case err == nil:
		case errors.As(err, &detailer):
			d := detailer.ErrorDetail()
			p.Errors = append(p.Errors, wire.ProblemField{Location: d.Location, Message: d.Message})
		default:
			p.Errors = append(p.Errors, wire.ProblemField{Message: err.Error()})
		}
	}
	return p
}
