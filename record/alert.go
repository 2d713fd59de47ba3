package record

// Alert is one alerting rule of those that the plan names.
type Alert struct {
	Name string `json:"name"`
	Expr string `json:"expr"`
	// Selects are the series that it looks at, recorded ones resolved.
	Selects []Selector `json:"selects,omitempty"`
}

// Selector is one selection of series in an expression.
type Selector struct {
	// Metric is its name; "" where only matchers say.
	Metric   string    `json:"metric,omitempty"`
	Matchers []Matcher `json:"matchers,omitempty"`
}

// Matcher is a condition on a label; the name of a metric is the label __name__.
type Matcher struct {
	Label string `json:"label"`
	Op    string `json:"op"`
	Value string `json:"value"`
}

// The conditions, as PromQL writes them.
const (
	MatchEqual     = "="
	MatchNotEqual  = "!="
	MatchRegexp    = "=~"
	MatchNotRegexp = "!~"
)
