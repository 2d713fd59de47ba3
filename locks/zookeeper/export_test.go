package zookeeper

// For the tests.
var (
	BugsOf = bugsOf
	Queue  = queue
)
