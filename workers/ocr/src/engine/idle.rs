/// Children that are idle beyond those that read at the same time: one that no tenant had yet, and one for tenants that
/// take turns.
const BESIDE: usize = 2;

/// The children that wait for a document, the one that waits longest first.
///
/// A document may have taken over the child that read it, and whoever comes next is seen by it and gets what it says. So a
/// child that read a document of one tenant reads none of another, ever.
pub(super) struct Idle<C> {
    children: Vec<(Option<String>, C)>,
    max: usize,
}

impl<C> Idle<C> {
    /// Children that no tenant had yet.
    pub fn fresh(children: Vec<C>) -> Self {
        let max = children.len() + BESIDE;
        Self { children: children.into_iter().map(|child| (None, child)).collect(), max }
    }

    /// One that read for this tenant last, or for nobody.
    pub fn take(&mut self, tenant: &str) -> Option<C> {
        let own = self.children.iter().rposition(|(last, _)| last.as_deref() == Some(tenant));
        let at = own.or_else(|| self.children.iter().position(|(last, _)| last.is_none()))?;
        Some(self.children.remove(at).1)
    }

    /// Whether the tenant after this one may have to wait for a start: others had children too, and no child is fresh.
    pub fn lacks_a_fresh_one(&self, tenant: &str) -> bool {
        let mut others = self.children.iter().filter(|(last, _)| last.as_deref() != Some(tenant)).peekable();
        others.peek().is_some() && others.all(|(last, _)| last.is_some())
    }

    /// Another may be idle; `tenant` is whose documents it read. What comes back is one too many, to be ended.
    #[must_use]
    pub fn keep(&mut self, child: C, tenant: Option<String>) -> Option<C> {
        self.children.push((tenant, child));
        if self.children.len() <= self.max {
            return None;
        }
        let longest = self.children.iter().position(|(last, _)| last.is_some()).unwrap_or(0);
        Some(self.children.remove(longest).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_only_for_the_tenant_that_it_read_for() {
        let mut idle = Idle::fresh(vec![1, 2]);
        assert_eq!(idle.take("acme"), Some(1));
        assert_eq!(idle.keep(1, Some("acme".to_owned())), None);
        assert_eq!(idle.take("acme"), Some(1), "its own before a fresh one");
        assert_eq!(idle.take("globex"), Some(2));
        assert_eq!(idle.keep(1, Some("acme".to_owned())), None);
        assert!(idle.lacks_a_fresh_one("globex") && !idle.lacks_a_fresh_one("acme"));
        assert_eq!(idle.take("globex"), None, "rather a start than another's");
        assert_eq!(idle.keep(3, None), None);
        assert!(!idle.lacks_a_fresh_one("globex"));
        assert_eq!(idle.take("globex"), Some(3));
    }

    #[test]
    fn the_one_that_waits_longest_makes_place() {
        let mut idle = Idle::fresh(vec![0]);
        let tenant = |name: &str| Some(name.to_owned());
        assert_eq!((idle.keep(1, tenant("a")), idle.keep(2, tenant("b"))), (None, None));
        assert_eq!(idle.keep(3, tenant("c")), Some(1), "a fresh one stays");
        assert_eq!(idle.take("a"), Some(0));
    }
}
