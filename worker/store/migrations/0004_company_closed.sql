-- readable from: 0004, since an older worker would take access tokens of a closed company
-- locks: ACCESS EXCLUSIVE on company
-- takes: 0.0 s per million rows of company
--
-- A company can be closed: commands that were appended then or later are refused, whatever their credentials. Its
-- passports stay. NULL: it is open.
ALTER TABLE company ADD COLUMN closed_at timestamptz;
